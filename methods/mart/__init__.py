"""MART (Zhang et al., CVPR 2024), one module for each part of the paper."""
