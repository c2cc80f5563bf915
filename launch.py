r"""Train, evaluate and report: python launch.py --config=configs/polydigits.py --workdir=runs/polydigits.

Generate with what was trained: python launch.py --workdir=runs/toy --stage=generate \\
    --given attributes="Smiling,Eyeglasses" --num_samples=8

Fill holes of new rows of your own data: python launch.py --workdir=runs/mine --stage=impute \\
    --input=new.npz --output=filled.npz

On several machines: the same command on each; where they do not find each other, with --coordinator_address,
--num_processes and --process_id. See docs/scaling.md.
"""

from sbmae_jax.app.cli import main

if __name__ == "__main__":
    main()
