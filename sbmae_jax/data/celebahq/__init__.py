"""CelebAMask-HQ: faces, masks and attributes."""
