"""The evaluation of faces, masks and attributes."""
