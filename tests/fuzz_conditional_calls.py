"""Conditions, guidance, likelihoods and particles with arguments that are right."""

import jax.numpy as jnp
from fuzz_arguments import (
    MASK,
    ROW,
    TIMES,
    Call,
    T,
    X,
    mask,
    s,
    sampled,
    score,
    sde,
    t,
    value,
    whole,
    x,
)

from sbmae_jax import (
    VP,
    Particles,
    amortised,
    amortised_by_time,
    chain,
    clamp,
    classifier_free,
    composed_score,
    denoise,
    draw_particles,
    feynman_kac,
    forward_transition,
    given,
    guide,
    log_density,
    log_density_adaptive,
    mutual_information,
    noise_condition,
    o_information,
    product_score,
    reconstruction_guidance,
    renoise,
    repaint,
    repeat,
    sample_adaptive,
    substeps,
    tilt,
    total_correlation,
    twist,
    twisted_sample,
    twisted_score,
)
from sbmae_jax.models.latents import Layout, moments
from sbmae_jax.sampling.generate import SamplingConfig, generate_latents

CONDITIONAL_CALLS = {
    "chain": Call(
        lambda key, step, x: sampled(chain(forward_transition(VP()), step), key, x),
        (2, 3),
        step=("step", denoise(VP(), score)),
        x=x,
    ),
    "repeat": Call(
        lambda key, step, num, x: sampled(repeat(step, num), key, x),
        (2, 3),
        step=("step", denoise(VP(), score)),
        num=whole,
        x=x,
    ),
    "repaint": Call(
        lambda key, step, num, x: sampled(repaint(step, VP(), num), key, x),
        (2, 3),
        step=("step", denoise(VP(), score)),
        num=whole,
        x=x,
    ),
    "substeps": Call(
        lambda key, step, num, x: sampled(substeps(step, num), key, x),
        (2, 3),
        step=("step", denoise(VP(), score)),
        num=whole,
        x=x,
    ),
    "forward_transition": Call(
        lambda key, sde, x: sampled(forward_transition(sde), key, x), (2, 3), sde=sde, x=x
    ),
    "clamp": Call(
        lambda key, value, mask, x: sampled(clamp(value, mask), key, x),
        (2, 3),
        value=value,
        mask=mask,
        x=x,
    ),
    "renoise": Call(
        lambda key, sde, value, mask, noise, x: sampled(renoise(sde, value, mask, noise), key, x),
        (2, 3),
        sde=sde,
        value=value,
        mask=mask,
        noise=value,
        x=x,
    ),
    "given": Call(
        lambda key, step, x: sampled(given(step, lambda key, x, t, t_next: x), key, x),
        (2, 3),
        step=("step", denoise(VP(), score)),
        x=x,
    ),
    "amortised": Call(
        lambda network, mask, x, t: amortised(lambda x, t, o: network(x, t), mask)(x, t),
        (2, 3),
        network=s,
        mask=mask,
        x=x,
        t=t,
    ),
    "amortised_by_time": Call(
        lambda network, mask, x, t: amortised_by_time(network, mask)(x, t),
        (2, 3),
        network=s,
        mask=mask,
        x=x,
        t=t,
    ),
    "guide": Call(
        lambda score, strength, mask, weights, window, x: guide(
            score,
            lambda x, t: jnp.sum(x**2, axis=-1),
            strength,
            mask=mask,
            weights=weights,
            window=window,
        )(x, T),
        (2, 3),
        score=s,
        strength=("number", 0.5),
        mask=mask,
        weights=value,
        window=("window", (0.0, 1.0)),
        x=x,
    ),
    "guide energy": Call(lambda energy, x: guide(score, energy)(x, T), None, energy=s, x=x),
    "classifier_free": Call(
        lambda conditional, unconditional, weight, x: classifier_free(
            conditional, unconditional, weight
        )(x, T),
        (2, 3),
        conditional=s,
        unconditional=s,
        weight=("number", 2.0),
        x=x,
    ),
    "composed_score": Call(
        lambda sde, conditional, observations, x: composed_score(
            sde, lambda x, t, y: conditional(x, t), observations, lambda x, t: -x
        )(x, T),
        (2, 3),
        sde=sde,
        conditional=s,
        observations=value,
        x=x,
    ),
    "noise_condition": Call(
        lambda sde, score, noise, mask, x: noise_condition(score, sde, noise, mask)(x, T),
        (2, 3),
        sde=sde,
        score=s,
        noise=value,
        mask=mask,
        x=x,
    ),
    "mutual_information": Call(
        lambda key, sde, score, x, num_levels, t_min, mask: (
            mutual_information(
                key, sde, score, score, x, num_levels=num_levels, t_min=t_min, mask=mask
            ).value
        ),
        (),
        sde=sde,
        score=s,
        x=x,
        num_levels=whole,
        t_min=("number", 1e-3),
        mask=mask,
    ),
    "total_correlation": Call(
        lambda key, sde, joint_score, marginal_score, x, num_levels: (
            total_correlation(key, sde, joint_score, marginal_score, x, num_levels=num_levels).value
        ),
        (),
        sde=sde,
        joint_score=s,
        marginal_score=s,
        x=x,
        num_levels=whole,
    ),
    "o_information": Call(
        lambda key, sde, score, x, groups, t_min: (
            o_information(
                key, sde, score, score, lambda x, t, mask: -x, x, groups, t_min=t_min
            ).value
        ),
        (),
        sde=sde,
        score=s,
        x=x,
        groups=("array", jnp.stack([MASK, ~MASK])),
        t_min=("number", 1e-3),
    ),
    "product_score": Call(
        lambda groups, x: product_score(groups, [lambda x, t: -x] * 2)(x, T),
        (2, 3),
        groups=("array", jnp.stack([MASK, ~MASK])),
        x=x,
    ),
    "log_density": Call(
        lambda sde, score, x, times, num_probes, mask: log_density(
            sde, score, x, times, num_probes=num_probes, mask=mask
        ),
        (2,),
        sde=sde,
        score=s,
        x=x,
        times=("array", TIMES[::-1]),
        num_probes=whole,
        mask=mask,
    ),
    "log_density probes": Call(
        lambda x, key, num_probes: log_density(
            VP(), score, x, TIMES[::-1], key=key, num_probes=num_probes
        ),
        (2,),
        x=x,
        num_probes=whole,
    ),
    "log_density_adaptive": Call(
        lambda score, x, t_min, rtol, atol, max_steps, key, mask: log_density_adaptive(
            VP(),
            score,
            x,
            t_min=t_min,
            rtol=rtol,
            atol=atol,
            max_steps=max_steps,
            key=key,
            mask=mask,
        ),
        (2,),
        score=s,
        x=x,
        t_min=("number", 1e-3),
        rtol=("number", 1e-3),
        atol=("number", 1e-3),
        max_steps=("whole", 16),
        mask=mask,
    ),
    "sample_adaptive AdaptiveSamples": Call(
        lambda sde, score, x, t_min, rtol, atol, max_steps, mask, data_scale: (
            sample_adaptive(
                sde,
                score,
                x,
                t_min=t_min,
                rtol=rtol,
                atol=atol,
                max_steps=max_steps,
                mask=mask,
                data_scale=data_scale,
            ).x
        ),
        (2, 3),
        sde=sde,
        score=s,
        x=x,
        t_min=("number", 1e-3),
        rtol=("number", 1e-3),
        atol=("number", 1e-3),
        max_steps=("whole", 64),
        mask=mask,
        data_scale=("number", 1.0),
    ),
    "reconstruction_guidance": Call(
        lambda sde, score, value, mask, covariance, x, t: reconstruction_guidance(
            sde, score, value, mask, covariance=covariance
        )(x, t),
        (2, 3),
        sde=sde,
        score=s,
        value=value,
        mask=mask,
        covariance=("array", jnp.eye(3)),
        x=x,
        t=t,
    ),
    "twisted_sample": Call(
        lambda key, sde, score, value, mask, times, num_particles, threshold, data_scale: (
            twisted_sample(
                key,
                sde,
                score,
                value,
                mask,
                times,
                num_particles,
                threshold=threshold,
                data_scale=data_scale,
            ).x
        ),
        (2, 3),
        sde=sde,
        score=s,
        value=value,
        mask=mask,
        times=("array", TIMES),
        num_particles=whole,
        threshold=("number", 0.5),
        data_scale=("number", 1.0),
    ),
    "twisted_sample covariance": Call(
        lambda key, value, mask, covariance: (
            twisted_sample(key, VP(), score, value, mask, TIMES, 2, covariance=covariance).x
        ),
        (2, 3),
        value=value,
        mask=mask,
        covariance=("array", jnp.eye(3)),
    ),
    "twist Twisted": Call(
        lambda sde, score, value, operator, noise, frozen_below, x, t: (
            twist(
                sde,
                score,
                value,
                operator,
                noise=noise,
                covariance="jacobian",
                frozen_below=frozen_below,
            )(x, t).gradient
        ),
        (2, 3),
        sde=sde,
        score=s,
        value=("array", ROW[:2]),
        operator=("array", jnp.eye(3)[:2]),
        noise=("number", 0.5),
        frozen_below=("number", 0.5),
        x=x,
        t=t,
    ),
    "tilt twisted_score": Call(
        lambda sde, score, x, t: twisted_score(
            tilt(sde, score, lambda x, t, denoised: jnp.sum(denoised, axis=-1))
        )(x, t),
        (2, 3),
        sde=sde,
        score=s,
        x=x,
        t=t,
    ),
    "feynman_kac": Call(
        lambda key, sde, score, times, shape, threshold: (
            feynman_kac(
                key,
                sde,
                tilt(sde, score, lambda x, t, denoised: jnp.sum(denoised, axis=-1)),
                times,
                shape,
                threshold=threshold,
            ).x
        ),
        (2, 3),
        sde=sde,
        score=s,
        times=("array", TIMES),
        shape=("shape", (2, 3)),
        threshold=("number", 0.5),
    ),
    "draw_particles": Call(
        lambda key, num: draw_particles(
            key, Particles(X, jnp.log(jnp.ones(2) / 2), jnp.ones(4), T), num
        ),
        (2, 3),
        num=whole,
    ),
    "generate_latents by particles": Call(
        lambda key, value, mask, num_particles: generate_latents(
            key,
            VP(),
            score,
            SamplingConfig("dpm_solver", "particles", 2, num_particles=num_particles),
            value,
            mask,
        ),
        (2, 3),
        value=x,
        mask=("array", X > 0),
        num_particles=whole,
    ),
    "generate_latents": Call(
        lambda key, value, mask: generate_latents(
            key, VP(), score, SamplingConfig(num_levels=2, num_corrections=1), value, mask
        ),
        (2, 3),
        value=x,
        mask=("array", X > 0),
    ),
    "Layout": Call(
        lambda names, sizes, x: Layout(names, sizes).unpack(x)["a"],
        (2, 1),
        names=("shape", ("a", "b")),
        sizes=("shape", (1, 2)),
        x=x,
    ),
    "moments": Call(
        lambda x, present: moments(x, present).std, (3,), x=x, present=("array", X > -5)
    ),
}
