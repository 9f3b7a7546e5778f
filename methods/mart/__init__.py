"""MART (Zhang et al., CVPR 2024): one module per part of the paper."""
