"""Many devices, many processes, and kills."""
