r"""Train, evaluate and use multimodal autoencoders.

Train and evaluate a model, and write a report:

    python launch.py --config=configs/polydigits.py --workdir=runs/polydigits

Generate with a finished run:

    python launch.py --workdir=runs/toy --stage=generate \
        --given attributes="Smiling,Eyeglasses" --num_samples=8

Fill in missing values of your own data:

    python launch.py --workdir=runs/mine --stage=impute --input=new.npz --output=filled.npz

An installed package has all this as commands: sbmae train, sbmae generate, sbmae impute and others.

To run on several machines, start the same command on each. If they cannot find each other, add
--coordinator_address, --num_processes and --process_id; see docs/scaling.md.
"""

from sbmae_jax.app.cli import main

if __name__ == "__main__":
    main()
