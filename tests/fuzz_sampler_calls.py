"""Processes, times and samplers with arguments that are right."""

import jax.numpy as jnp
from fuzz_arguments import TIMES, Call, T, mask, s, sampled, score, sde, t, whole, x

from sbmae_jax import (
    EDM,
    VE,
    VP,
    CosineVP,
    DiscreteVP,
    MemoryStep,
    Process,
    RectifiedFlow,
    SubVP,
    acceptance_rates,
    adams,
    ancestral,
    annealed_langevin,
    by_level,
    by_norm,
    denoise,
    dpm_solver,
    edm_times,
    euler_maruyama,
    forward_transition,
    hamiltonian,
    heun,
    ladder_times,
    langevin,
    log_snr_times,
    probability_flow,
    sample,
    uniform_times,
    vp_times,
)

SAMPLER_CALLS = {
    "VP": Call(
        lambda beta_min, beta_max: VP(beta_min, beta_max).sigma(T),
        (),
        False,
        beta_min=("number", 0.1),
        beta_max=("number", 20.0),
    ),
    "SubVP": Call(
        lambda beta_min, beta_max: SubVP(beta_min, beta_max).sigma(T),
        (),
        False,
        beta_min=("number", 0.1),
        beta_max=("number", 20.0),
    ),
    "VE": Call(
        lambda sigma_min, sigma_max: VE(sigma_min, sigma_max).sigma(T),
        (),
        False,
        sigma_min=("number", 0.1),
        sigma_max=("number", 20.0),
    ),
    "EDM": Call(
        lambda sigma_min, sigma_max, rho: EDM(sigma_min, sigma_max, rho).sigma(T),
        (),
        False,
        sigma_min=("number", 0.1),
        sigma_max=("number", 20.0),
        rho=("number", 7.0),
    ),
    "CosineVP": Call(
        lambda offset, t_max: CosineVP(offset, t_max).sigma(T),
        (),
        False,
        offset=("number", 0.01),
        t_max=("number", 0.9),
    ),
    "RectifiedFlow": Call(
        lambda t_max: RectifiedFlow(t_max).sigma(T), (), False, t_max=("number", 0.9)
    ),
    "DiscreteVP": Call(
        lambda betas: DiscreteVP(betas).sigma(T),
        (),
        False,
        betas=("array", jnp.asarray([0.1, 0.2])),
    ),
    "Process": Call(
        lambda t_max: Process(VP().log_alpha, VP().sigma, t_max).diffusion(T),
        (),
        False,
        t_max=("number", 0.9),
    ),
    "SDE.score_from_velocity": Call(
        lambda sde, velocity, x, t: sde.score_from_velocity(velocity, x, t),
        (2, 3),
        sde=sde,
        velocity=x,
        x=x,
        t=t,
    ),
    "SDE.score_from_v": Call(
        lambda sde, v, x, t: sde.score_from_v(v, x, t), (2, 3), sde=sde, v=x, x=x, t=t
    ),
    "SDE.v_from_score": Call(
        lambda sde, score, x, t: sde.v_from_score(score, x, t), (2, 3), sde=sde, score=x, x=x, t=t
    ),
    "SDE.perturb": Call(
        lambda sde, x, eps, t: sde.perturb(x, eps, t), (2, 3), sde=sde, x=x, eps=x, t=t
    ),
    "SDE.probability_flow_drift": Call(
        lambda sde, x, score, t: sde.probability_flow_drift(x, score, t),
        (2, 3),
        sde=sde,
        x=x,
        score=x,
        t=t,
    ),
    "SDE.score_from_noise": Call(
        lambda sde, eps, t: sde.score_from_noise(eps, t), (2, 3), sde=sde, eps=x, t=t
    ),
    "SDE.noise_from_score": Call(
        lambda sde, score, t: sde.noise_from_score(score, t), (2, 3), sde=sde, score=x, t=t
    ),
    "SDE.score_from_denoised": Call(
        lambda sde, denoised, x, t: sde.score_from_denoised(denoised, x, t),
        (2, 3),
        sde=sde,
        denoised=x,
        x=x,
        t=t,
    ),
    "SDE.denoised_from_score": Call(
        lambda sde, score, x, t: sde.denoised_from_score(score, x, t),
        (2, 3),
        sde=sde,
        score=x,
        x=x,
        t=t,
    ),
    "SDE.prior": Call(
        lambda sde, key, shape: sde.prior(key, shape), (2, 3), sde=sde, shape=("shape", (2, 3))
    ),
    "SDE.prior_log_prob": Call(lambda sde, x: sde.prior_log_prob(x), (2,), sde=sde, x=x),
    "SDE.sample_time": Call(
        lambda sde, key, shape, weighting, t_min: sde.sample_time(key, shape, weighting, t_min),
        (2,),
        sde=sde,
        shape=("shape", (2,)),
        weighting=("name", "noise"),
        t_min=("number", 1e-3),
    ),
    "uniform_times": Call(uniform_times, (3,), False, num=whole, t_min=("number", 1e-3)),
    "log_snr_times": Call(log_snr_times, (3,), False, sde=sde, num=whole, t_min=("number", 1e-3)),
    "edm_times": Call(
        edm_times, (3,), False, sde=sde, num=whole, t_min=("number", 1e-3), rho=("number", 7.0)
    ),
    "vp_times": Call(
        vp_times, (3,), False, sde=sde, num=whole, t_min=("number", 1e-3), rho=("number", 5.0)
    ),
    "ladder_times": Call(
        ladder_times, (4,), False, sde=sde, sigmas=("array", jnp.asarray([0.9, 0.5, 0.1]))
    ),
    "sample": Call(
        lambda key, step, x, times: sample(key, step, x, times),
        (2, 3),
        step=("step", euler_maruyama(VP(), score)),
        x=x,
        times=("array", TIMES),
    ),
    "sample every": Call(
        lambda key, x, times, every: sample(key, forward_transition(VP()), x, times, every=every)[
            0
        ],
        (2, 3),
        x=x,
        times=("array", TIMES),
        every=whole,
    ),
    "sample last": Call(
        lambda key, last, x: sample(key, forward_transition(VP()), x, TIMES, last=last),
        (2, 3),
        last=("step", denoise(VP(), score)),
        x=x,
    ),
    "euler_maruyama": Call(
        lambda key, sde, score, x: sampled(euler_maruyama(sde, score), key, x),
        (2, 3),
        sde=sde,
        score=s,
        x=x,
    ),
    "ancestral": Call(
        lambda key, sde, score, x, data_scale, temperature: sampled(
            ancestral(sde, score, data_scale, temperature), key, x
        ),
        (2, 3),
        sde=sde,
        score=s,
        x=x,
        data_scale=("number", 1.0),
        temperature=("number", 1.0),
    ),
    "probability_flow": Call(
        lambda key, sde, score, x: sampled(probability_flow(sde, score), key, x),
        (2, 3),
        sde=sde,
        score=s,
        x=x,
    ),
    "adams": Call(
        lambda key, sde, score, x, order, data_scale: sampled(
            adams(sde, score, order, data_scale), key, x
        ),
        (2, 3),
        sde=sde,
        score=s,
        x=x,
        order=whole,
        data_scale=("number", 1.0),
    ),
    "hamiltonian": Call(
        lambda key, sde, score, x, step_size, num_steps, mask, temperature: sampled(
            hamiltonian(sde, score, step_size, num_steps, mask, temperature), key, x
        ),
        (2, 3),
        sde=sde,
        score=s,
        x=x,
        step_size=("number", 1.0),
        num_steps=whole,
        mask=mask,
        temperature=("number", 1.0),
    ),
    "acceptance_rates": Call(
        lambda key, sde, score, x, times, step_size, mask: acceptance_rates(
            key, sde, score, x, times, step_size=step_size, mask=mask
        ),
        (3,),
        sde=sde,
        score=s,
        x=x,
        times=("array", jnp.asarray([0.9, 0.5, 0.1])),
        step_size=("number", 1.0),
        mask=mask,
    ),
    "heun": Call(
        lambda key, sde, score, x, churn, data_scale: sampled(
            heun(sde, score, churn, None, data_scale), key, x
        ),
        (2, 3),
        sde=sde,
        score=s,
        x=x,
        churn=("number", 0.1),
        data_scale=("number", 1.0),
    ),
    "denoise": Call(
        lambda key, sde, score, x: sampled(denoise(sde, score), key, x),
        (2, 3),
        sde=sde,
        score=s,
        x=x,
    ),
    "dpm_solver": Call(
        lambda key, sde, score, x, eta, temperature: sampled(
            dpm_solver(sde, score, eta, temperature), key, x
        ),
        (2, 3),
        sde=sde,
        score=s,
        x=x,
        eta=("number", 0.5),
        temperature=("number", 1.0),
    ),
    "MemoryStep": Call(
        lambda key, step, x: sampled(
            MemoryStep(lambda x: 0, lambda key, x, i, t, t_next: (step(key, x, t, t_next), i + 1)),
            key,
            x,
        ),
        (2, 3),
        step=("step", forward_transition(VP())),
        x=x,
    ),
    "langevin": Call(
        lambda key, sde, score, snr, num_steps, mask, temperature, x: sampled(
            langevin(sde, score, snr, num_steps, mask, temperature), key, x
        ),
        (2, 3),
        sde=sde,
        score=s,
        snr=("number", 0.1),
        num_steps=whole,
        mask=mask,
        temperature=("number", 1.0),
        x=x,
    ),
    "annealed_langevin": Call(
        lambda key, sde, score, step_size, sigma_last, num_steps, x: sampled(
            annealed_langevin(sde, score, step_size, sigma_last, num_steps), key, x
        ),
        (2, 3),
        sde=sde,
        score=s,
        step_size=("number", 0.1),
        sigma_last=("number", 0.1),
        num_steps=whole,
        x=x,
    ),
    "by_level": Call(
        lambda key, score, x: sampled(langevin(VP(), score, rule=by_level), key, x),
        (2, 3),
        score=s,
        x=x,
    ),
    "by_norm": Call(
        lambda key, score, x: sampled(langevin(VP(), score, rule=by_norm), key, x),
        (2, 3),
        score=s,
        x=x,
    ),
}
