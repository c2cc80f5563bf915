"""Drawn faces in the layout of CelebAMask-HQ, free to use."""
