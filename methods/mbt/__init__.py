"""MBT: transformers of video and audio that exchange information through bottleneck tokens."""
