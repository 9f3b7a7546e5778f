"""MART (Zhang et al., CVPR 2024), one file for each section of the paper."""
