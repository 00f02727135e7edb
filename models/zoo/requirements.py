"""The extra that a model or an imbalance method needs."""

from importlib.util import find_spec

from models.zoo.entry import ModelEntry

_DEEP = ("deep", ("keras", "jax"))
_XGBOOST = ("models", ("xgboost",))
_IMBLEARN = ("models", ("imblearn",))

_MODELS = {
    "xgboost": _XGBOOST,
    "stacked": _XGBOOST,
    "balanced_bagging": _IMBLEARN,
    "autoencoder": _DEEP,
    "feed_forward": _DEEP,
    "cnn": _DEEP,
    "lstm": _DEEP,
}
_IMBALANCE = {
    **dict.fromkeys(("undersampling", "smote", "tomek", "smote_tomek"), _IMBLEARN),
    "gan": _DEEP,
}


def missing_requirement(entry: ModelEntry) -> str:
    """Return why an entry cannot run here, with the command that helps; empty if it can.

    Packages are looked for and not imported.
    """
    for needed in (_MODELS.get(entry.model), _IMBALANCE.get(entry.imbalance)):
        if needed is None:
            continue
        extra, packages = needed
        if missing := [package for package in packages if find_spec(package) is None]:
            return f"{', '.join(missing)} is not installed: pip install 'vedette[{extra}]'"
    return ""
