"""Which of a user's own files are for testing, and the order in which a data set has them."""

import hashlib
from collections.abc import Collection, Sequence

from trainer.data.custom import ImageOptions, draw_test, draw_test_of_each
from trainer.data.listed import Sample


def in_halves(samples: Sequence[Sample], options: ImageOptions, left_out: Collection[str] = ()) -> list[Sample]:
    """Return samples as a data set has them: those for testing last, and before these those without a label.

    Where the data does not say which are for testing, they are drawn among those with a label. A file that is left out
    has no part in it: the halves are what they are without it in the folder.

    Args:
        samples: all that were listed.
        options: the share for testing.
        left_out: names of those that cannot be read.

    """
    kept = [sample for sample in samples if sample.name not in left_out]
    if kept and kept[0].split is None:
        labelled = [sample for sample in kept if sample.label is not None]
        names, labels = [sample.name for sample in labelled], [sample.label for sample in labelled]
        share = options.test_fraction
        test = draw_test_of_each(names, labels, share) if options.stratified else draw_test(names, share)
        drawn = {name for name, chosen in zip(names, test, strict=True) if chosen}
        kept = [sample._replace(split="test" if sample.name in drawn else "train") for sample in kept]
    return sorted(kept, key=lambda sample: (sample.split == "test", sample.label is None, sample.name))


def order_sha256(samples: Sequence[Sample]) -> str:
    """Return the hash of the names of samples, in order.

    Args:
        samples: as they are stored.

    """
    return hashlib.sha256("\n".join(sample.name for sample in samples).encode(errors="surrogateescape")).hexdigest()
