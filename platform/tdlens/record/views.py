"""The views that reports use and users query. Their SQL is part of the migration that made them."""

VIEWS: dict[str, tuple[str, ...]] = {
    view: tuple(columns.split())
    for view, columns in {
        "v_study": "study revision title config created jobs jobs_done jobs_failed",
        "v_job": (
            "study job stage key identity state config git_commit git_dirty versions seed device started "
            "finished attempt owner lease_until error"
        ),
        "v_submission": "submission study revision executor settings scheduler_id submitted",
        "v_worker": ("worker owner submission study state stage key activity progress published started seen"),
        "v_model": "study model source fingerprint architecture n_blocks d_model n_parameters dtype",
        "v_episode": (
            "study task variant model policy intervention rollout rollout_index seed episode forced return outcome"
        ),
        "v_step": (
            "study task variant model policy intervention rollout rollout_index episode step state action "
            "reward next_state done forced p_chosen action_probabilities token_position"
        ),
        "v_learning_signal": (
            "study task variant model policy intervention rollout rollout_index episode step signal agent value"
        ),
        "v_latent_activation": (
            "study task variant model policy intervention rollout rollout_index episode step sae block latent "
            "signal value"
        ),
        "v_activation_shard": ("study model capture positions hook block first_row n_rows d dtype blob suffix bytes"),
        "v_sae": (
            "study model sae block architecture d_in d_latents config seed explained_variance fvu l0 live "
            "dead non_constant blob bytes"
        ),
        "v_latent_correlation": (
            "study task model sae block latent signal r r_heldout ci_low ci_high heldout_low "
            "heldout_high r_partial r_partial_heldout partial_low partial_high p_familywise q_value n n_rollouts"
        ),
        "v_correlation": (
            "study task model source sae block latent signal r r_selection r_heldout ci_low ci_high "
            "heldout_low heldout_high r_partial r_partial_heldout partial_low partial_high null_mean null_sd "
            "p_familywise q_value n n_rollouts"
        ),
        "v_coverage": (
            "study task model source sae block signal n_latents n_live n_kept min_abs_r_kept r_threshold "
            "n n_rollouts family_size n_permutations alpha threshold_z covariates top cutoff blob"
        ),
        "v_intervention": (
            "study model intervention control sae block latents operation value target_signal description"
        ),
        "v_intervention_effect": (
            "study task model intervention control target_signal block operation metric effect_block "
            "value baseline difference ci_low ci_high n_rollouts"
        ),
        "v_intervention_latent": "study model intervention control sae block latent operation value target_signal",
        "v_behaviour_fit": (
            "study task model policy intervention behaviour_model n_choices n_rollouts n_parameters beta "
            "nll aic bic chance_nll nll_minus_q ci_low ci_high"
        ),
        "v_block_measure": (
            "study task model block source sae measure signal intervention value ci_low ci_high null_mean "
            "null_threshold n_rollouts"
        ),
        "v_map_point": "study block method source rollout_index intervention item label grp x y",
        "v_published_point": "study source figure series x y low high",
        "v_model_metric": "study model metric value ci_low ci_high n",
        "v_latent_measure": "study model sae block latent measure value",
        "v_latent_predicate": (
            "study model source sae block latent predicate family f1 precision recall f1_heldout ci_low ci_high "
            "null_mean null_threshold z p_familywise n_true n_fired matched_pairs matched_share matched_low "
            "matched_high added_share added_low added_high decoder_f1"
        ),
        "v_latent_example": "study model sae block latent rank state value q_effect",
        "v_head_score": (
            "study task model ablation split seed block layer head name task_damage control_damage score attribution"
        ),
        "v_head_measure": "study task model measure block layer head name value",
        "v_head_label": "study task model label block layer head name source",
        "v_head_pair": (
            "study task model seed block layer head name other_block other_layer other_head other_name damage excess"
        ),
        "v_circuit_search": "study model search method best_of seed transitions forward_passes parameters blob",
        "v_search_progress": "study task model search method best_of seed transitions best_score n_episodes",
        "v_search_episode": (
            "study task model search method trained_best_of seed task_code best_of episode rollout best_score oracle "
            "share forward_passes best_head oracle_head best_by_pass"
        ),
        "v_search_step": (
            "study task model search method trained_best_of seed task_code best_of episode step head score best_score "
            "oracle forward_passes"
        ),
        "v_planted_circuit": "study model block layer head name role score pair_excess found_rank",
        "v_maze_training": "study training base model algorithm variant shuffled steps seed parameters",
        "v_maze_progress": (
            "study training step mean_return golds molds entropy loss gradient equalised_entropy clipped learning_rate"
        ),
        "v_maze_checkpoint": "study training step model",
        "v_concept_vector": (
            "study model training step variant concept block norm stream_norm auroc cohen_d overlap chosen n blob"
        ),
        "v_concept_cosine": "study model training step variant concept other block cosine",
        "v_concept_token": "study training variant concept block sign rank token logit",
        "v_emotion_cosine": "study model training variant concept emotion block cosine valence",
        "v_emotion_component": (
            "study model training variant concept component block explained valence_r projection cosine null_low "
            "null_high"
        ),
        "v_goal_tracking": "study training source reader panel concept block d ci_low ci_high n n_other histogram",
        "v_steering_effect": (
            "study training reader concept source draw block dose_kind dose norm evaluation measure grp value "
            "ci_low ci_high incoherent n judge"
        ),
        "v_steered_text": (
            "study training reader concept source draw block evaluation dose_kind dose item sample prompt text "
            "label score"
        ),
        "v_steering_contrast": (
            "study training reader dose_kind evaluation measure quantity source expected value ci_low ci_high p n"
        ),
        "v_concept_latent": "study training concept sae block signal latent r r_partial cosine activation",
        "v_concept_signal": (
            "study training concept sae block signal n_latents cosine cosine_low cosine_high cosine_p share "
            "share_high share_p"
        ),
        "v_planted_axis": "study model evaluation planted expected contrast ci_low ci_high cosine cohen_d found",
    }.items()
}
"""Each view's columns, in order. All but v_submission and v_worker show each study's current revision, and 'none' as
the intervention of a rollout without one. In the views of heads and searches the task is the task's variant, and heads
are named `layer.head`, with layers from 0 on where blocks count from 1. In the views of concept
vectors a training of NULL is the model before any training."""
