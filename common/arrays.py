"""Arrays that are shown to somebody else's code."""

from numpy.typing import NDArray


def read_only(array: NDArray) -> NDArray:
    """Return an array's view that cannot be written to: whoever tries gets NumPy's error.

    Args:
        array: any.

    """
    view = array.view()
    view.setflags(write=False)
    return view
