"""The port among earlier products of a run: taken again where it is of the same weights and as it would be made."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from common.files import sha256_of
from common.reading import read_json
from pipeline.errors import PipelineError
from pipeline.products.model_folder import ABOUT, FOLDER, LARGEST, PORT, WEIGHTS, read_about

CONTENTS = "products.json"
"""Lists the files of a folder of products with their hashes, and what made them."""


def take_port(products: Path, network: Mapping[str, Any], into: Path, made_by: Mapping[str, Any]) -> bool:
    """Copy a port that was verified before, so that it need not be made again; tell whether there was one.

    It is taken where every file of it is what was written then, the weights are the same to the last bit, the network
    and what it is verified on are the same, and it was made by the same versions of everything.

    Args:
        products: the folder of earlier products; it may be missing, or anything else.
        network: name, options, input shape and number of classes.
        into: the model's folder in the making, with its weights.
        made_by: what products.json has to say alike: the run, the data's digest and the versions.

    """
    model = products / FOLDER
    try:
        contents = read_json(products / CONTENTS, LARGEST)
        files: dict[str, str] = contents["files"]
        port = [Path(name).name for name in files if Path(name).parent == Path(FOLDER, PORT)]
        named = {name: model / PORT / name for name in port}
        alike = (
            all(contents[key] == value for key, value in made_by.items())
            and port
            and read_about(model).network == json.loads(json.dumps(network))
            and files[f"{FOLDER}/{ABOUT}"] == sha256_of(model / ABOUT)
            and files[f"{FOLDER}/{WEIGHTS}"] == sha256_of(into / WEIGHTS)
            and all(files[f"{FOLDER}/{PORT}/{name}"] == sha256_of(path) for name, path in named.items())
        )
        if not alike:
            return False
        (into / PORT).mkdir()
        for name, path in named.items():
            shutil.copyfile(path, into / PORT / name)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, PipelineError):  # there is none, or it is damaged
        shutil.rmtree(into / PORT, ignore_errors=True)
        return False
    return True
