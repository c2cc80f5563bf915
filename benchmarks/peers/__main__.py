"""Ours beside what a user would pick instead, at equal operations of training; results/peers.json.

    python -m benchmarks.peers comparison --seeds 0 1 2  # all methods on PolyDigits, two hours on two cores
    python -m benchmarks.peers choices      # MoPoE with what validation rows put second
    python -m benchmarks.peers large --seeds 0 1 2       # the same operations in batches of the demo's size
    python -m benchmarks.peers modalities   # with 2, 5 and 10 modalities, 45 minutes
    python -m benchmarks.peers ablations    # after large: what each part is worth, some minutes a row

Methods: ours; Multi-Modal Latent Diffusion (MLD); the joint autoencoders MVAE, MMVAE, MoPoE, MVTCAE and
MMVAE+. All have the encoders and decoders of ours for each modality, the same training loop, and as many
operations of training (XLA's count of one step, times steps). What another method is free to choose is
chosen on validation rows of seed 0, with a quarter of the operations, from a list. Ours is trained as in the
demo, and sampled in three ways: as in the demo, at a low temperature, and in few steps, as is best on these
rows.
"""

from benchmarks.peers.ablations import measure_ablations
from benchmarks.peers.comparison import measure_choices, measure_comparison, measure_large
from benchmarks.peers.modalities import measure_modalities
from benchmarks.peers.report import REPORT
from benchmarks.runner import main

if __name__ == "__main__":
    measures = (measure_comparison, measure_choices, measure_large, measure_modalities)
    main("peers", __doc__, REPORT, (*measures, measure_ablations), seeds=(0, 1, 2))
