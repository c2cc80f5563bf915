"""Extended PolyMNIST: coherence, what it depends on, and what more modalities cost."""
