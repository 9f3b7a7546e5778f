"""MBT: video and audio transformers that exchange information through bottleneck tokens."""
