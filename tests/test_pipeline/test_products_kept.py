"""A port is made once, while nothing that decides about it has changed."""

import json

from products_cases import begin, go_on, make_folder

import migrator
from common.files import sha256_of
from pipeline.products.make import make_products
from pipeline.run.context import load_data
from pipeline.run.rundir import read_config


def test_a_port_is_made_once_while_weights_data_and_versions_are_the_same(tmp_path, monkeypatch):
    folder = make_folder(tmp_path / "photos")
    run = go_on(begin(tmp_path / "run", folder, query__strategy="entropy", cycles=1))
    data, made, migrate = load_data(read_config(run), run=run), [], migrator.migrate
    monkeypatch.setattr(migrator, "migrate", lambda *given: made.append(1) or migrate(*given))
    model, contents = run / "products/model", run / "products/products.json"

    def ports():
        """How many were made for products that have one."""
        made.clear()
        make_products(run, data)
        assert json.loads((model / "model.json").read_text())["port"] == "port"
        files = json.loads(contents.read_text())["files"]
        assert all(sha256_of(run / "products" / name) == digest for name, digest in files.items())
        return len(made)

    assert ports() == 1
    first = (model / "port/model.safetensors").read_bytes()
    assert ports() == 0
    assert (model / "port/model.safetensors").read_bytes() == first
    contents.write_text(contents.read_text().replace('"versions": {', '"versions": {"other": "1", '))
    assert ports() == 1
    (model / "port/graph.json").write_text((model / "port/graph.json").read_text() + " ")  # damaged
    assert ports() == 1
    weights = model / "weights.safetensors"  # of another network, and its list says so
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    listed = json.loads(contents.read_text())
    listed["files"]["model/weights.safetensors"] = sha256_of(weights)
    contents.write_text(json.dumps(listed))
    assert ports() == 1
    contents.write_text("[]")
    assert ports() == 1
