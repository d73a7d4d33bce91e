"""How good a classifier is on a test set, beyond its accuracy; every number from one pass over the outputs."""

import numpy as np

from common.losses import get_loss

CALIBRATION_BINS = 15


def quality(outputs: np.ndarray, labels: np.ndarray, loss: str) -> dict[str, float | list[float | None]]:
    """Return macro-F1, expected calibration error and the accuracy of each class, as a run's summary keeps them.

    Args:
        outputs: of the network, ``[N, C]``.
        labels: class numbers ``[N]``.
        loss: the loss that the network was trained with; it decides what the outputs say about probabilities.

    Returns:
        ``macro_f1``, ``ece`` and ``class_accuracy``, the latter with C entries, None for a class without images.

    """
    predicted = outputs.argmax(axis=1)
    return {
        "macro_f1": macro_f1(predicted, labels),
        "ece": expected_calibration_error(get_loss(loss).probabilities.of(outputs), labels),
        "class_accuracy": class_accuracy(predicted, labels, outputs.shape[1]),
    }


def class_accuracy(predicted: np.ndarray, labels: np.ndarray, num_classes: int) -> list[float | None]:
    """Return the share of each class's images that are predicted as that class (its recall).

    A_c = |{i : ŷ_i = y_i = c}| / |{i : y_i = c}|.

    Args:
        predicted: class numbers ``[N]``.
        labels: class numbers ``[N]``.
        num_classes: C.

    Returns:
        C shares in [0, 1]; None for a class that no image has.

    """
    found, there, _ = _counts(predicted, labels, num_classes)
    return [float(f / n) if n else None for f, n in zip(found, there, strict=True)]


def macro_f1(predicted: np.ndarray, labels: np.ndarray) -> float:
    """Return the unweighted mean over classes of F1, the harmonic mean of precision and recall.

    F1_c = 2 TP_c / (2 TP_c + FP_c + FN_c), over the classes that occur in the labels or the predictions; a class that
    only one of both has counts as 0.  Source: ``sklearn.metrics.f1_score(average="macro", zero_division=0)``.

    Args:
        predicted: class numbers ``[N]``, N ≥ 1.
        labels: class numbers ``[N]``.

    Returns:
        The mean, in [0, 1].

    """
    found, there, given = _counts(predicted, labels, 1 + int(max(predicted.max(), labels.max())))
    either = there + given  # 2 TP + FP + FN
    return float(np.mean(2 * found[either > 0] / either[either > 0]))


def expected_calibration_error(p: np.ndarray, labels: np.ndarray, bins: int = CALIBRATION_BINS) -> float:
    """Return how far the network's confidence is from its accuracy, averaged over images.

    ECE = Σ_m |B_m|/N · |acc(B_m) − conf(B_m)|, where B_m are the images whose largest probability lies in
    ((m−1)/M, m/M], acc the share of them predicted correctly and conf the mean of those probabilities.
    Source: Guo et al. 2017, eq. 3 (M = 15).

    Args:
        p: class probabilities ``[N, C]``, N ≥ 1.
        labels: class numbers ``[N]``.
        bins: M.

    Returns:
        The error, in [0, 1].

    """
    confidence = p.max(axis=1)
    gap = (p.argmax(axis=1) == labels) - confidence  # [N]
    bin_of = np.searchsorted(np.arange(1, bins) / bins, confidence, side="left")  # a bin owns its upper edge
    return float(np.abs(np.bincount(bin_of, gap, minlength=bins)).sum() / len(labels))


def _counts(predicted: np.ndarray, labels: np.ndarray, num_classes: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """By class: images predicted correctly, images there are, images predicted so; each ``[C]``."""
    found = np.bincount(labels[predicted == labels], minlength=num_classes)
    return found, np.bincount(labels, minlength=num_classes), np.bincount(predicted, minlength=num_classes)
