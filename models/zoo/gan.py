"""Oversampling by a conditional generative adversarial network (Mirza and Osindero, 2014), in Keras (extra `deep`).

The generator is trained on both classes, with the class as an input, so that the few frauds profit from what honest
payments reveal about the shape of the data. Then it generates frauds.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.zoo.networks import keras

Floats = NDArray[np.float64]

NOISE = 32
"""Dimensions of the generator's input."""


class ConditionalGan:
    """A sampler with the interface of imbalanced-learn.

    Args:
        share: Frauds per honest row after resampling.
        seed: Seed of everything random.
        steps: Training steps.
        batch: Rows per step, half of them frauds.
    """

    def __init__(self, share: float, seed: int, steps: int = 1500, batch: int = 128) -> None:
        self._share = share
        self._seed = seed
        self._steps = steps
        self._batch = batch

    def fit_resample(self, matrix: Floats, fraud: NDArray[np.bool_]) -> tuple[Floats, NDArray[np.bool_]]:
        """Return the given rows, followed by generated frauds."""
        frauds, honest = np.flatnonzero(fraud), np.flatnonzero(~fraud)
        wanted = int(self._share * len(honest)) - len(frauds)
        if wanted <= 0:
            return matrix, fraud
        library = keras()
        library.utils.set_random_seed(self._seed)
        rng = np.random.default_rng(self._seed)
        width, half = matrix.shape[1], self._batch // 2
        generator, discriminator, both = _networks(library, width)
        kind = np.repeat([1.0, 0.0], half)[:, None].astype(np.float32)
        for _ in range(self._steps):
            rows = np.concatenate([rng.choice(frauds, half), rng.choice(honest, half)])
            made = np.asarray(generator(_noise(rng, kind)))
            discriminator.trainable = True
            taken = np.column_stack([matrix[rows].astype(np.float32), kind])
            discriminator.train_on_batch(taken, np.full(2 * half, 0.9))
            discriminator.train_on_batch(np.column_stack([made, kind]), np.zeros(2 * half))
            discriminator.trainable = False
            both.train_on_batch(_noise(rng, kind), np.ones(2 * half))
        one = np.ones((wanted, 1), np.float32)
        made = np.asarray(generator.predict(_noise(rng, one), batch_size=4096, verbose=0), np.float64)
        low, high = matrix[frauds].min(axis=0), matrix[frauds].max(axis=0)
        return np.concatenate([matrix, np.clip(made, low, high)]), np.append(fraud, np.ones(wanted, np.bool_))


def _noise(rng: np.random.Generator, kind: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.column_stack([rng.normal(size=(len(kind), NOISE)).astype(np.float32), kind])


def _networks(library: Any, width: int) -> tuple[Any, Any, Any]:
    """Return generator, discriminator, and both chained; the last input column of each is the class."""
    layers = library.layers
    given = library.Input((NOISE + 1,))
    hidden = layers.Dense(128, activation="leaky_relu")(given)
    hidden = layers.Dense(128, activation="leaky_relu")(hidden)
    generator = library.Model(given, layers.Dense(width)(hidden))
    discriminator = library.Sequential(
        [
            library.Input((width + 1,)),
            layers.Dense(128, activation="leaky_relu"),
            layers.Dropout(0.3),
            layers.Dense(128, activation="leaky_relu"),
            layers.Dropout(0.3),
            layers.Dense(1, activation="sigmoid"),
        ]
    )
    discriminator.compile(optimizer=library.optimizers.Adam(2e-4, beta_1=0.5), loss="binary_crossentropy")
    discriminator.trainable = False
    both = library.Model(given, discriminator(layers.Concatenate()([generator(given), given[:, -1:]])))
    both.compile(optimizer=library.optimizers.Adam(2e-4, beta_1=0.5), loss="binary_crossentropy")
    return generator, discriminator, both
