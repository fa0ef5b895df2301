"""Sparse autoencoders, and the statistics of what their latents follow.

Arrays and tensors in, arrays and tensors out: nothing here knows the record. In the order of a study:
`config`, `architectures`, `training` (over `replicas`), `checkpoint`, `metrics`; then `correlation`,
`rollout_statistics` and `permutation_null`; `principal_components` and `matching` are the controls. For signals with
a column a state, judged by their mean over rollouts (`rollout_means`): `state_correlation`, `cka`, `decoding`,
`similarity`, `state_maps`.
"""
