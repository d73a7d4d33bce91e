"""Layers in which parameters meet data in every way that we could think of, and random networks made of them.

Between layers a value is ``h [B, T, D]``.  A layer may put out anything ``[B, ...]``: a fixed random matrix brings it
back to ``[B, T, D]``, so that any layers follow one another.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

T, D = 12, 4


class Layer(NamedTuple):
    params: dict[str, Any]
    apply: Callable[..., Any]  # (params, state, h [B, T, D]) -> [B, ...]
    state: Any = None  # a collection that is not differentiated


LAYERS: dict[str, Callable[[np.random.Generator], Layer]] = {}


def layer(make):
    LAYERS[make.__name__] = make
    return make


def weights(rng, *shape, dtype=np.float64):
    fan_in = np.prod(shape[:-1]) if len(shape) > 1 else 1
    return np.asarray(rng.normal(size=shape) / np.sqrt(max(fan_in, 1)), dtype)


def network(names, seed=0, classes=3, dtype=np.float64):
    """Chain layers and a dense head: (apply_fn, variables); inputs ``[B, T, D]``."""

    def typed(leaf):
        return leaf.astype(dtype) if getattr(leaf, "dtype", None) == np.float64 else leaf

    rng = np.random.default_rng(seed)
    layers = [jax.tree.map(typed, LAYERS[name](rng)) for name in names]
    bridges = []
    for made in layers:
        out = jax.eval_shape(made.apply, made.params, made.state, jax.ShapeDtypeStruct((1, T, D), dtype))
        size = int(np.prod(out.shape))
        bridges.append((rng.normal(size=(size, T * D)) / np.sqrt(max(size, 1))).astype(dtype))
    params = {f"{at}_{name}": made.params for at, (name, made) in enumerate(zip(names, layers, strict=True))}
    params["head"] = jax.tree.map(typed, {"kernel": weights(rng, T * D, classes), "bias": weights(rng, classes)})
    state = {str(at): made.state for at, made in enumerate(layers)}

    def apply_fn(variables, x):
        h = x
        for at, (name, made, bridge) in enumerate(zip(names, layers, bridges, strict=True)):
            y = made.apply(variables["params"][f"{at}_{name}"], variables["state"][str(at)], h)
            h = jnp.tanh(y.reshape(len(x), -1) @ bridge + 0.5 * x.reshape(len(x), -1)).reshape(-1, T, D)
        head = variables["params"]["head"]
        return h.reshape(len(x), -1) @ head["kernel"] + head["bias"][None]

    return apply_fn, {"params": params, "state": state}


def inputs(seed, n, dtype=np.float64):
    return np.random.default_rng(seed).normal(size=(n, T, D)).astype(dtype)


# Convolutions ---------------------------------------------------------------------------------------------------------

SPACES = {1: (12,), 2: (3, 4), 3: (2, 3, 2)}


def random_conv(rng, rank, *, groups=(1, 2, 4), strides=(1, 2, 3), lhs_dilations=(1, 2), frames=1):
    """A convolution of any stride, padding (negative ones too), dilations, groups and order of the axes."""
    space = SPACES[rank]
    if frames > 1:
        space = (T // frames, *[1] * (rank - 1))
    channels = D
    for _ in range(1000):
        kernel = rng.integers(1, 4, rank)
        stride = rng.choice(strides, rank)
        padding = rng.integers(-1, 3, (rank, 2))
        rhs_dilation = rng.integers(1, 3, rank)
        lhs_dilation = rng.choice(lhs_dilations, rank)
        length = (np.array(space) - 1) * lhs_dilation + 1 + padding.sum(1)
        places = (length - (kernel - 1) * rhs_dilation - 1) // stride + 1
        if (length >= 1).all() and (places >= 1).all():
            break
    count = int(rng.choice(groups))
    out = count * int(rng.integers(1, 3))
    letters = "HWD"[:rank]
    numbers = tuple("".join(rng.permutation([*both, *letters])) for both in ("NC", "IO", "NC"))

    order = [letters.index(letter) for letter in numbers[1] if letter in letters]  # lax counts the kernel's axes

    def ordered(array, now, wanted):
        return array.transpose([now.index(letter) for letter in wanted])

    w = ordered(weights(rng, *kernel, channels // count, out), letters + "IO", numbers[1])

    def apply(p, s, h):
        data = h.reshape(len(h) * frames, *space, channels)
        y = lax.conv_general_dilated(
            ordered(data, "N" + letters + "C", numbers[0]),
            p["w"],
            tuple(stride[order].tolist()),
            tuple((int(low), int(high)) for low, high in padding[order]),
            lhs_dilation=tuple(lhs_dilation[order].tolist()),
            rhs_dilation=tuple(rhs_dilation[order].tolist()),
            dimension_numbers=numbers,
            feature_group_count=count,
        )
        return ordered(y, numbers[2], "N" + letters + "C").reshape(len(h), -1)

    return Layer({"w": w}, apply)


@layer
def conv1d(rng):
    return random_conv(rng, 1)


@layer
def conv2d(rng):
    return random_conv(rng, 2)


@layer
def conv3d(rng):
    return random_conv(rng, 3)


@layer
def conv2d_plain(rng):
    return random_conv(rng, 2, groups=(1,), strides=(1, 2), lhs_dilations=(1,))


@layer
def conv1d_plain(rng):
    return random_conv(rng, 1, groups=(1,), lhs_dilations=(1,))


@layer
def conv3d_plain(rng):
    return random_conv(rng, 3, groups=(1,), strides=(1,), lhs_dilations=(1,))


@layer
def conv_grouped(rng):
    return random_conv(rng, 2, groups=(2, 4), lhs_dilations=(1,))


@layer
def conv_of_dilated_data(rng):
    return random_conv(rng, 2, groups=(1,), lhs_dilations=(2,))


@layer
def conv_of_frames(rng):
    return random_conv(rng, 2, groups=(1,), lhs_dilations=(1,), frames=3)


@layer
def conv_transpose(rng):
    def apply(p, s, h):
        y = lax.conv_transpose(
            h.reshape(-1, 3, 4, D), p["w"], (2, 2), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        return y + p["b"][None, None, None]

    return Layer({"w": weights(rng, 3, 3, D, 3), "b": weights(rng, 3)}, apply)


@layer
def conv_with_the_weight_as_image(rng):
    def apply(p, s, h):
        def one(kernel):  # [T, D] -> out of a weight's image
            return lax.conv_general_dilated(
                p["w"], kernel.reshape(3, 4, D, 1)[:2, :2], (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
            )

        return jnp.stack([one(h[0])])

    return Layer({"w": weights(rng, 2, 4, 3, D)}, apply)


@layer
def conv_with_batch_groups(rng):
    def apply(p, s, h):
        return lax.conv_general_dilated(
            h.reshape(2, 6, D), p["w"], (1,), "SAME", dimension_numbers=("NHC", "HIO", "NHC"), batch_group_count=2
        ).reshape(len(h), -1)

    return Layer({"w": weights(rng, 3, D, 2)}, apply)


@layer
def conv_and_dense_share_a_kernel(rng):
    def apply(p, s, h):
        y = lax.conv_general_dilated(h, p["w"], (1,), "SAME", dimension_numbers=("NHC", "HIO", "NHC"))
        return y + h @ p["w"][1]

    return Layer({"w": weights(rng, 3, D, D)}, apply)


# Matrix products ------------------------------------------------------------------------------------------------------


@layer
def dense(rng):
    return Layer({"w": weights(rng, D, 5), "b": weights(rng, 5)}, lambda p, s, h: h @ p["w"] + p["b"][None, None])


@layer
def dense_of_everything(rng):
    return Layer({"w": weights(rng, T * D, 6)}, lambda p, s, h: h.reshape(len(h), -1) @ p["w"])


@layer
def dense_from_the_left(rng):
    return Layer({"w": weights(rng, 5, T)}, lambda p, s, h: jnp.einsum("ot,btd->bod", p["w"], h))


@layer
def dense_transposed(rng):
    return Layer({"w": weights(rng, 5, D)}, lambda p, s, h: h @ p["w"].T)


@layer
def dense_over_two_axes(rng):
    return Layer(
        {"w": weights(rng, D, 3, 4, 2)}, lambda p, s, h: jnp.einsum("bijd,djio->bo", h.reshape(-1, 4, 3, D), p["w"])
    )


@layer
def dense_batched(rng):
    return Layer({"w": weights(rng, T, D, 3)}, lambda p, s, h: jnp.einsum("btd,tdo->bto", h, p["w"]))


@layer
def dense_grouped(rng):
    def apply(p, s, h):
        return jnp.einsum("ogd,btgd->btog", p["w"], h.reshape(-1, T, 2, 2))

    return Layer({"w": weights(rng, 3, 2, 2)}, apply)


@layer
def dense_grouped_dot_general(rng):
    def apply(p, s, h):
        one = lax.dot_general(p["w"], h[0].reshape(T, 2, 2), (((2,), (2,)), ((1,), (1,))))  # [g, o, T]
        return one[None]

    return Layer({"w": weights(rng, 3, 2, 2)}, apply)


@layer
def outer_product(rng):
    return Layer({"w": weights(rng, 5)}, lambda p, s, h: jnp.tensordot(h[..., 0], p["w"], axes=0))


@layer
def bilinear(rng):
    return Layer({"w": weights(rng, D, D, 3)}, lambda p, s, h: jnp.einsum("btd,dek,bte->btk", h, p["w"], h))


@layer
def low_rank_adapter(rng):
    def apply(p, s, h):
        return h @ (s["w"] + p["a"] @ p["b"]) + h @ p["w"]

    params = {"a": weights(rng, D, 2), "b": weights(rng, 2, 5), "w": weights(rng, D, 5)}
    return Layer(params, apply, {"w": weights(rng, D, 5)})


@layer
def generated_weights(rng):
    def apply(p, s, h):
        w = p["w"] * (1 + h.mean(1)[0, :, None])
        return h @ w

    return Layer({"w": weights(rng, D, 5)}, apply)


# Weights that are used twice, or made from others ---------------------------------------------------------------------


@layer
def used_twice(rng):
    return Layer({"w": weights(rng, D, D)}, lambda p, s, h: jnp.tanh(h @ p["w"]) @ p["w"])


@layer
def autoencoder(rng):
    return Layer({"w": weights(rng, D, 3)}, lambda p, s, h: jnp.tanh(h @ p["w"]) @ p["w"].T)


@layer
def with_itself(rng):
    return Layer({"w": weights(rng, D, 3)}, lambda p, s, h: h @ (p["w"] @ p["w"].T))


@layer
def twice_at_one_site(rng):
    return Layer({"w": weights(rng, D)}, lambda p, s, h: jnp.where(h > 0, p["w"][None, None], -p["w"][None, None]))


@layer
def bias_at_two_sites(rng):
    def apply(p, s, h):
        b = p["b"][None, None]
        return jnp.tanh(h @ p["w"] + b) + b * h

    return Layer({"w": weights(rng, D, D), "b": weights(rng, D)}, apply)


@layer
def weight_norm(rng):
    def apply(p, s, h):
        return h @ (p["v"] * (p["g"] / jnp.linalg.norm(p["v"], axis=0))[None])

    return Layer({"v": weights(rng, D, 5), "g": weights(rng, 5)}, apply)


@layer
def spectral_norm(rng):
    def apply(p, s, h):
        def power(u):
            v = lax.stop_gradient(p["w"]).T @ u
            u = lax.stop_gradient(p["w"]) @ (v / jnp.linalg.norm(v))
            return u / jnp.linalg.norm(u)

        _, u = lax.while_loop(lambda c: c[0] < 3, lambda c: (c[0] + 1, power(c[1])), (0, s["u"]))
        return h @ (p["w"] / jnp.linalg.norm(lax.stop_gradient(u) @ p["w"]))

    return Layer({"w": weights(rng, D, 5)}, apply, {"u": weights(rng, D)})


@layer
def positive_weights(rng):
    def apply(p, s, h):
        return (h @ jax.nn.softplus(p["w"])) * jnp.exp(p["log"])[None, None] * lax.rsqrt(p["v"] ** 2 + 1)[None, None]

    return Layer({"w": weights(rng, D, 5), "log": weights(rng, 5), "v": weights(rng, 5)}, apply)


@layer
def orthogonal_weights(rng):
    def apply(p, s, h):
        skew = p["w"] - p["w"].T
        return h @ jnp.linalg.solve(jnp.eye(D) + skew, jnp.eye(D) - skew)  # Cayley

    return Layer({"w": weights(rng, D, D)}, apply)


@layer
def solved_with(rng):
    def apply(p, s, h):
        return jnp.linalg.solve(3 * jnp.eye(D) + p["w"], h[0].T)[None]

    return Layer({"w": weights(rng, D, D)}, apply)


@layer
def parts_of_a_weight(rng):
    def apply(p, s, h):
        q, k, v = jnp.split(p["w"], 3, axis=1)
        return jnp.tanh(h @ q) * (h @ k) + h @ v[:, ::-1]

    return Layer({"w": weights(rng, D, 9)}, apply)


@layer
def stacked_weights(rng):
    def apply(p, s, h):
        return h @ jnp.stack([p["a"], p["b"]], 1) + (h @ jnp.concatenate([p["b"][:2], p["a"][2:]]))[..., None]

    return Layer({"a": weights(rng, D), "b": weights(rng, D)}, apply)


# Normalisation and attention ------------------------------------------------------------------------------------------


@layer
def batch_norm(rng):
    def apply(p, s, h):
        inverse = p["scale"] * lax.rsqrt(s["var"] + 1e-5)
        return (h - s["mean"][None, None]) * inverse[None, None] + p["bias"][None, None]

    state = {"mean": weights(rng, D), "var": weights(rng, D) ** 2 + 0.5, "batches": np.asarray(3, np.int32)}
    return Layer({"scale": 1 + weights(rng, D), "bias": weights(rng, D)}, apply, state)


@layer
def layer_norm(rng):
    def apply(p, s, h):
        centred = h - h.mean(-1, keepdims=True)
        normal = centred * lax.rsqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
        return normal * p["scale"][None, None] + p["bias"][None, None]

    return Layer({"scale": 1 + weights(rng, D), "bias": weights(rng, D)}, apply)


@layer
def group_norm(rng):
    def apply(p, s, h):
        grouped = h.reshape(-1, T, 2, 2)
        centred = grouped - grouped.mean((1, 3), keepdims=True)
        normal = (centred / jnp.sqrt((centred**2).mean((1, 3), keepdims=True) + 1e-5)).reshape(h.shape)
        return normal * p["scale"][None, None] + p["bias"][None, None]

    return Layer({"scale": 1 + weights(rng, D), "bias": weights(rng, D)}, apply)


@layer
def attention(rng):
    def apply(p, s, h):
        token = jnp.broadcast_to(p["class"][None, None], (len(h), 1, D))
        z = jnp.concatenate([token, h], 1) + p["position"][None]
        heads = jnp.einsum("btd,adhk->abhtk", z, p["qkv"]) + p["bias"][:, None, :, None]
        q, k, v = heads
        mixed = jnp.einsum("bhtu,bhuk->bthk", jax.nn.softmax(jnp.einsum("bhtk,bhuk->bhtu", q, k) / np.sqrt(2)), v)
        return jnp.einsum("bthk,hkd->btd", mixed, p["out"])[:, :3]

    params = {
        "class": weights(rng, D), "position": weights(rng, T + 1, D), "qkv": weights(rng, 3, D, 2, 2),
        "bias": weights(rng, 3, 2, 2), "out": weights(rng, 2, 2, D),
    }  # fmt: skip
    return Layer(params, apply)


# Elementwise ----------------------------------------------------------------------------------------------------------


@layer
def where(rng):
    def apply(p, s, h):
        return jnp.where(h > 0, p["a"][None, None], h * p["b"][None, None]) + jnp.where(h < 0.5, h, p["a"][0])

    return Layer({"a": weights(rng, D), "b": weights(rng, D)}, apply)


@layer
def maximum(rng):
    def apply(p, s, h):
        low, high = (jnp.abs(p[name])[None, None] for name in ("low", "high"))
        return jnp.maximum(p["a"][None, None], h) + jnp.clip(h, -low, high) + jnp.minimum(h, p["a"][None, None])

    return Layer({"a": weights(rng, D), "low": weights(rng, D), "high": weights(rng, D)}, apply)


@layer
def division(rng):
    def apply(p, s, h):
        return h / (2 + p["a"] ** 2)[None, None] + p["b"][None, None] / (1.5 + jnp.tanh(h))

    return Layer({"a": weights(rng, D), "b": weights(rng, D)}, apply)


@layer
def power(rng):
    def apply(p, s, h):
        positive = 1 + h**2
        return (
            positive ** p["a"][None, None]
            + (1 + p["b"] ** 2)[None, None] ** jnp.tanh(h)
            + (p["b"] + 2)[None, None] ** 3
        )

    return Layer({"a": weights(rng, D), "b": weights(rng, D)}, apply)


@layer
def prelu(rng):
    return Layer({"slope": np.asarray(0.25)}, lambda p, s, h: jnp.where(h > 0, h, p["slope"] * h))


@layer
def scalars(rng):
    return Layer({"a": weights(rng), "b": weights(rng)}, lambda p, s, h: p["a"] * h + p["b"] + jnp.tanh(p["b"] * h))


@layer
def pooling(rng):
    def apply(p, s, h):
        image = (h * p["w"][None, None]).reshape(-1, 3, 4, D) + p["map"][None]
        high = lax.reduce_window(image, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 1, 2, 1), "SAME")
        mean = lax.reduce_window(image, 0.0, lax.add, (1, 2, 3, 1), (1, 1, 1, 1), "VALID")
        return jnp.concatenate([high.reshape(len(h), -1), mean.reshape(len(h), -1)], 1)

    return Layer({"w": weights(rng, D), "map": weights(rng, 3, 4, D)}, apply)


@layer
def spectral_filter(rng):
    def apply(p, s, h):
        return jnp.fft.irfft(jnp.fft.rfft(h, axis=1) * lax.complex(p["re"], p["im"])[None], n=T, axis=1)

    return Layer({"re": weights(rng, T // 2 + 1, D), "im": weights(rng, T // 2 + 1, D)}, apply)


@layer
def complex_product(rng):
    def apply(p, s, h):
        z = lax.complex(h, jnp.tanh(h)) @ lax.complex(p["re"], p["im"])
        return z.real + z.imag**2

    return Layer({"re": weights(rng, D, 3), "im": weights(rng, D, 3)}, apply)


# Moving data ----------------------------------------------------------------------------------------------------------


@layer
def embedding(rng):
    def apply(p, s, h):
        return p["table"][(h > 0).sum(-1)] * h[..., :3] + p["table"].at[2].get()[None, None]

    return Layer({"table": weights(rng, D + 1, 3)}, apply)


@layer
def one_hot_embedding(rng):
    return Layer({"table": weights(rng, D + 1, 3)}, lambda p, s, h: jax.nn.one_hot((h > 0).sum(-1), D + 1) @ p["table"])


@layer
def concatenation(rng):
    def apply(p, s, h):
        token = jnp.broadcast_to(p["w"], (len(h), 2, D))
        padded = lax.pad(h * p["edge"], p["edge"], [(0, 0, 0), (1, 1, 0), (0, 0, 0)])
        return jnp.concatenate([token, padded, h, token], 1)

    return Layer({"w": weights(rng, 2, D), "edge": weights(rng)}, apply)


@layer
def repetition(rng):
    def apply(p, s, h):
        rows = jnp.broadcast_to(p["w"][None, None], (len(h), 3, D))
        return jnp.concatenate([h, rows, jnp.tile(p["v"], (len(h), 2, 1))], 1)

    return Layer({"w": weights(rng, D), "v": weights(rng, 2, D)}, apply)


@layer
def slices_at_data(rng):
    def apply(p, s, h):
        at = (h[0, 0] > 0).sum()
        read = lax.dynamic_slice(p["w"], (at, 0), (3, D))
        return lax.dynamic_update_slice(h[0], p["patch"], (at, 0))[None, :6].at[0, :3].add(read).at[0, 4].set(p["w"][0])

    return Layer({"w": weights(rng, 8, D), "patch": weights(rng, 2, D)}, apply)


@layer
def sorting(rng):
    def apply(p, s, h):
        order, carried = lax.sort((h, jnp.broadcast_to(p["w"][None], h.shape)), num_keys=1)
        return (order * carried).cumsum(1) + lax.top_k(h * p["w"][0, 0], 1)[0]

    return Layer({"w": weights(rng, T, D)}, apply)


# Control flow ---------------------------------------------------------------------------------------------------------


@layer
def recurrence(rng):
    def apply(p, s, h):
        def step(carry, x):
            carry = jnp.tanh(x @ p["w"] + carry @ p["u"] + p["b"][None])
            return carry, carry

        start = jnp.broadcast_to(p["start"], (len(h), 3))
        _, states = lax.scan(step, start, h.swapaxes(0, 1))
        return states[::4]

    params = {"w": weights(rng, D, 3), "u": weights(rng, 3, 3), "b": weights(rng, 3), "start": weights(rng, 3)}
    return Layer(params, lambda p, s, h: apply(p, s, h).swapaxes(0, 1))


@layer
def scan_over_layers(rng):
    def apply(p, s, h):
        return lax.scan(lambda z, w: (jnp.tanh(z @ w), None), h, p["w"])[0]

    return Layer({"w": weights(rng, 3, D, D)}, apply)


@layer
def condition(rng):
    def apply(p, s, h):
        return lax.cond(h[0, 0, 0] > 0, lambda w, z: z @ w, lambda w, z: jnp.sin(z @ w.T @ w), p["w"], h)

    return Layer({"w": weights(rng, D, D)}, apply)


@layer
def condition_on_a_weight(rng):
    def apply(p, s, h):
        w = lax.cond(p["w"][0, 0] > 0, lambda w: w, lambda w: 2 * w.T, p["w"])
        return lax.switch((p["w"] > 0).sum() % 2, [lambda z: z @ w, lambda z: jnp.sin(z @ w)], h)

    return Layer({"w": weights(rng, D, D)}, apply)


@layer
def loop(rng):
    def apply(p, s, h):
        return lax.fori_loop(0, 3, lambda i, z: jnp.tanh(z @ p["w"] + p["b"][i][None, None]), h)

    return Layer({"w": weights(rng, D, D), "b": weights(rng, 3, D)}, apply)


@layer
def loop_without_gradient(rng):
    """A while loop has no derivative by reverse mode, and needs none where its gradient is stopped."""

    def apply(p, s, h):
        w = lax.stop_gradient(p["w"])
        _, z = lax.while_loop(lambda c: c[0] < 2, lambda c: (c[0] + 1, jnp.tanh(c[1] @ w)), (0, lax.stop_gradient(h)))
        return z * p["b"][None, None]

    return Layer({"w": weights(rng, D, D), "b": weights(rng, D)}, apply)


@layer
def mapped(rng):
    return Layer({"w": weights(rng, D, 3)}, lambda p, s, h: lax.map(lambda row: jnp.tanh(row @ p["w"]), h[0])[None])


@layer
def vmapped(rng):
    return Layer({"w": weights(rng, D, 3)}, lambda p, s, h: jax.vmap(jax.vmap(lambda row: row @ p["w"]))(h))


# Functions with their own derivatives, and calls ----------------------------------------------------------------------


@jax.custom_jvp
def crooked(w, z):
    return jnp.sin(z @ w)


@crooked.defjvp
def crooked_jvp(primals, tangents):
    (w, z), (dw, dz) = primals, tangents
    return crooked(w, z), 3 * (z @ dw) + 0.5 * (dz @ w)  # deliberately not the derivative


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def straight_through(w, z, scale):
    return jnp.sign(z @ w) * scale


straight_through.defvjp(
    lambda w, z, scale: (straight_through(w, z, scale), (w, z)),
    lambda scale, kept, g: (2 * jnp.einsum("bti,bto->io", kept[1], g), scale * g @ kept[0].T),
)


@layer
def custom_jvp(rng):
    return Layer({"w": weights(rng, D, D)}, lambda p, s, h: crooked(p["w"], jnp.tanh(crooked(p["w"], h))))


@layer
def custom_vjp(rng):
    return Layer({"w": weights(rng, D, D)}, lambda p, s, h: straight_through(p["w"], h, 0.7))


@jax.custom_jvp
def scaled_gradient(w):
    return w


@scaled_gradient.defjvp
def scaled_gradient_jvp(primals, tangents):
    return primals[0], 2 * tangents[0]


@layer
def custom_rule_for_a_weight(rng):
    """The rule meets the weight before any data does."""
    return Layer({"w": weights(rng, D, 3)}, lambda p, s, h: h @ scaled_gradient(p["w"]))


@layer
def activations(rng):
    def apply(p, s, h):
        return jax.nn.relu(h @ p["w"]) + jax.nn.gelu(p["b"][None, None] + h) + jax.nn.silu(p["b"])[None, None]

    return Layer({"w": weights(rng, D, D), "b": weights(rng, D)}, apply)


@layer
def checkpointed(rng):
    def apply(p, s, h):
        return (
            jax.checkpoint(lambda w, z: jnp.tanh(z @ w) @ w.T)(p["w"], h) + jax.checkpoint(jnp.sin)(p["b"])[None, None]
        )

    return Layer({"w": weights(rng, D, 3), "b": weights(rng, D)}, apply)


@jax.jit
def block(w, z):
    return jax.jit(lambda a, b: jnp.tanh(b @ a))(w, z) @ w.T


@layer
def called_twice(rng):
    return Layer({"a": weights(rng, D, 3), "b": weights(rng, D, 3)}, lambda p, s, h: block(p["b"], block(p["a"], h)))


@layer
def called_with_one_weight_twice(rng):
    def apply(p, s, h):
        return jax.jit(lambda a, b, z: (jnp.tanh(z @ a) @ b.T, a))(p["w"], p["w"], h)[0] @ block(p["w"], jnp.eye(D))

    return Layer({"w": weights(rng, D, 3)}, apply)


@layer
def read_without_gradient(rng):
    """A second use of a weight that no gradient passes."""

    def apply(p, s, h):
        return (h @ p["w"]) * lax.stop_gradient(jnp.linalg.norm(p["w"])) + (p["w"] > 0).sum()

    return Layer({"w": weights(rng, D, 3)}, apply)


# Parameters that are special ------------------------------------------------------------------------------------------


@layer
def stopped(rng):
    def apply(p, s, h):
        b = p["b"] * lax.stop_gradient(p["w"])[0]
        return h @ lax.stop_gradient(p["w"]) + b[None, None] + lax.stop_gradient(h @ p["v"])

    return Layer({"w": weights(rng, D, 3), "v": weights(rng, D, 3), "b": weights(rng, 3)}, apply)


@layer
def unused(rng):
    return Layer({"w": weights(rng, D, 3), "unused": weights(rng, 7)}, lambda p, s, h: h @ p["w"])


@layer
def dead_end(rng):
    """Computed from data and weights, and thrown away."""

    def apply(p, s, h):
        both = jax.jit(lambda z: (z @ p["w"], z @ p["dead"]))(h)
        return both[0]

    return Layer({"w": weights(rng, D, 3), "dead": weights(rng, D, 2)}, apply)


@layer
def no_data(rng):
    return Layer({"w": weights(rng, 5)}, lambda p, s, h: jnp.broadcast_to(p["w"], (len(h), 5)))


@layer
def zero_size(rng):
    def apply(p, s, h):
        nothing = h[..., :0] @ p["none"] + p["empty"].sum()
        return jnp.concatenate([h @ p["w"], nothing, jnp.broadcast_to(p["empty"][None, None], (len(h), T, 0))], -1)

    return Layer({"w": weights(rng, D, 3), "none": np.zeros((0, 2)), "empty": np.zeros(0)}, apply)


@layer
def noise(rng):
    def apply(p, s, h):
        key = jax.random.fold_in(s["key"], 1)
        return (h + jax.random.uniform(key, h.shape, h.dtype)) @ (p["w"] * jax.random.bernoulli(key, 0.5, (D, 3)))

    return Layer({"w": weights(rng, D, 3)}, apply, {"key": jax.random.key(7)})


@layer
def integer_state(rng):
    state = {"order": rng.permutation(D).astype(np.int32), "mask": rng.random(D) > 0.3}
    return Layer(
        {"w": weights(rng, D, 3)}, lambda p, s, h: (h[..., s["order"]] * s["mask"][None, None]) @ p["w"], state
    )


def chains(count, seed=0):
    """Every layer once, in random chains of ``count``."""
    names = np.random.default_rng(seed).permutation(sorted(LAYERS)).tolist()
    return ["+".join(names[start : start + count]) for start in range(0, len(names), count)]
