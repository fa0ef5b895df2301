"""Let stable-baselines3 play in a vectorised Gymnasium environment: it has an interface of its own for many games."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices, VecEnvStepReturn


class VectorGames(VecEnv):
    """A Gymnasium ``VectorEnv`` as a stable-baselines3 ``VecEnv``, its rewards scaled.

    Args:
        games: starts the next game in the step that ends one (``AutoresetMode.SAME_STEP``).
        reward_scale: every reward is multiplied by it.

    Raises:
        ValueError: the games reset in another way.
    """

    def __init__(self, games: VectorEnv[Any, Any, Any], reward_scale: float = 1.0) -> None:
        mode = games.metadata.get("autoreset_mode")
        if mode != AutoresetMode.SAME_STEP:
            raise ValueError(f"a game must be reset in the step that ends it, not by {mode}")
        self.games, self.reward_scale = games, reward_scale
        self._actions: NDArray[np.int64] | None = None
        super().__init__(games.num_envs, games.single_observation_space, games.single_action_space)

    def reset(self) -> Any:
        observations, _ = self.games.reset(seed=self._seeds[0])
        self._reset_seeds()
        return observations

    def step_async(self, actions: NDArray[np.int64]) -> None:
        self._actions = actions

    def step_wait(self) -> VecEnvStepReturn:
        observations, rewards, terminated, truncated, info = self.games.step(self._actions)
        over = terminated | truncated
        infos: list[dict[str, Any]] = [{} for _ in over]
        for game in np.flatnonzero(over):
            cut_off = bool(truncated[game] and not terminated[game])
            infos[game] = {"terminal_observation": info["final_obs"][game], "TimeLimit.truncated": cut_off}
        return observations, (rewards * self.reward_scale).astype(np.float32), over, infos

    def close(self) -> None:
        self.games.close()

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        return [getattr(self.games, attr_name) for _ in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:
        raise NotImplementedError("the games share their attributes")

    def env_method(self, method_name: str, *args: Any, indices: VecEnvIndices = None, **kwargs: Any) -> list[Any]:
        raise NotImplementedError("the games share their methods")

    def env_is_wrapped(self, wrapper_class: type[gymnasium.Wrapper], indices: VecEnvIndices = None) -> list[bool]:
        return [False for _ in self._get_indices(indices)]
