"""Neural networks in Keras on JAX (extra `deep`): a feed-forward net, CNN and LSTM over sequences, an autoencoder."""

import math
import os
from collections.abc import Callable
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from adapters.extras import needs_extra
from models.zoo.builder import LENGTH, FitSettings, log_odds
from models.zoo.loss import ALPHA, GAMMA

Floats = NDArray[np.float64]

BATCH = 256
AVERAGED = 0.2
"""Final share of the training steps over which the weights are averaged exponentially."""


def keras() -> Any:
    """Return Keras on JAX.

    Raises:
        UnavailableError: The extra is not installed.
    """
    os.environ.setdefault("KERAS_BACKEND", "jax")
    with needs_extra("deep", "a neural network"):
        import keras as library  # noqa: PLC0415 - an extra
    return library


class Network:
    """A binary classifier trained on all rows, whose weights are averaged over the last steps.

    With some hundred frauds in a week, a validation set for early stopping is too small to be reliable, and its rows
    are missed in training.
    """

    def __init__(self, build: Callable[[Any, int], list[Any]], settings: FitSettings) -> None:
        self._build = build
        self._settings = settings
        self._epochs = int(settings.parameters.get("epochs", 20))
        self._rate = float(settings.parameters.get("learning_rate", 0.001))

    def fit(self, matrix: Floats, fraud: NDArray[np.bool_], sample_weight: Floats | None = None) -> Self:
        """Learn from these rows."""
        library = keras()
        library.utils.set_random_seed(self._settings.seed)
        self._network = library.Sequential([library.Input((matrix.shape[1],)), *self._build(library, matrix.shape[1])])
        loss: Any = "binary_crossentropy"
        if self._settings.focal:
            loss = library.losses.BinaryFocalCrossentropy(apply_class_balancing=True, alpha=1 - ALPHA, gamma=GAMMA)
        steps = AVERAGED * self._epochs * math.ceil(len(matrix) / BATCH)
        averaging = library.optimizers.Adam(self._rate, use_ema=True, ema_momentum=max(0, 1 - 1 / steps))
        self._network.compile(optimizer=averaging, loss=loss)
        self._network.fit(
            matrix.astype(np.float32),
            fraud.astype(np.float32),
            sample_weight=sample_weight,
            epochs=self._epochs,
            batch_size=BATCH,
            verbose=0,
        )
        return self

    def margins(self, matrix: Floats) -> Floats:
        """Return log-odds, float64 [n]."""
        raw = self._network.predict(matrix.astype(np.float32), batch_size=4096, verbose=0)[:, 0]
        return log_odds(raw.astype(np.float64))


class Autoencoder:
    """Learns to reconstruct usual rows; rows with a large reconstruction error are unusual."""

    def __init__(self, settings: FitSettings) -> None:
        self._seed = settings.seed
        self._epochs = int(settings.parameters.get("epochs", 10))

    def fit(self, matrix: Floats) -> Self:
        """Train on these rows."""
        library = keras()
        library.utils.set_random_seed(self._seed)
        width = matrix.shape[1]
        layers = [library.layers.Dense(n, activation="relu") for n in (max(width // 2, 2), max(width // 4, 2))]
        layers += [library.layers.Dense(max(width // 2, 2), activation="relu"), library.layers.Dense(width)]
        self._network = library.Sequential([library.Input((width,)), *layers])
        self._network.compile(optimizer="adam", loss="mse")
        data = matrix.astype(np.float32)
        self._network.fit(data, data, epochs=self._epochs, batch_size=BATCH, verbose=0)
        return self

    def margins(self, matrix: Floats) -> Floats:
        """Return the mean squared error of each row, float64 [n]."""
        data = matrix.astype(np.float32)
        error: Floats = np.mean((self._network.predict(data, batch_size=4096, verbose=0) - data) ** 2, axis=1)
        return error


def feed_forward(settings: FitSettings) -> Network:
    """Return two dense layers with dropout, over one payment."""

    def layers(library: Any, _width: int) -> list[Any]:
        units = int(settings.parameters.get("units", 500))
        hidden = [library.layers.Dense(units, activation="relu"), library.layers.Dropout(0.2)]
        second = [library.layers.Dense(units, activation="relu"), library.layers.Dropout(0.2)]
        return [*hidden, *second, library.layers.Dense(1, activation="sigmoid")]

    return Network(layers, settings)


def cnn(settings: FitSettings) -> Network:
    """Return one convolution over the account's last payments."""

    def layers(library: Any, width: int) -> list[Any]:
        return [
            library.layers.Reshape((LENGTH, width // LENGTH)),
            library.layers.Conv1D(100, 2, activation="relu"),
            library.layers.Flatten(),
            library.layers.Dense(100, activation="relu"),
            library.layers.Dropout(0.2),
            library.layers.Dense(1, activation="sigmoid"),
        ]

    return Network(layers, settings)


def lstm(settings: FitSettings) -> Network:
    """Return a recurrent layer over the account's last payments."""

    def layers(library: Any, width: int) -> list[Any]:
        return [
            library.layers.Reshape((LENGTH, width // LENGTH)),
            library.layers.LSTM(100),
            library.layers.Dense(100, activation="relu"),
            library.layers.Dropout(0.2),
            library.layers.Dense(1, activation="sigmoid"),
        ]

    return Network(layers, settings)


BUILDERS: dict[str, Callable[[FitSettings], Network]] = {"feed_forward": feed_forward, "cnn": cnn, "lstm": lstm}
