"""Layers of picture networks by their formulas, in float64 NumPy; nothing of torch."""

import numpy as np


def conv(x, weight, bias, stride=1, pad=0):
    """x [c, h, w], weight [o, c, k, k] -> [o, h', w']: every output is one sum over a window."""
    x = np.pad(x, ((0, 0), (pad, pad), (pad, pad)))
    k = weight.shape[2]
    windows = np.lib.stride_tricks.sliding_window_view(x, (k, k), axis=(1, 2))[:, ::stride, ::stride]
    c, h, w = windows.shape[:3]
    rows = windows.transpose(1, 2, 0, 3, 4).reshape(h * w, c * k * k)
    return (rows @ weight.reshape(len(weight), -1).T + bias).T.reshape(len(weight), h, w)


def max_pool(x, size=3, stride=2, lower_right=0):
    """Largest of each window, with rows and columns of zeros added below and at the right."""
    x = np.pad(x, ((0, 0), (0, lower_right), (0, lower_right)))
    return np.lib.stride_tricks.sliding_window_view(x, (size, size), axis=(1, 2))[:, ::stride, ::stride].max((3, 4))


def local_response_norm(x, size=5, kappa=2.0, alpha=1e-4, beta=0.75):
    """x [c, ...]: each channel over (kappa + alpha * sum of the squares of the window around it) ** beta."""
    out = np.empty_like(x)
    for channel in range(len(x)):
        window = x[max(0, channel - size // 2) : channel + size // 2 + 1]
        out[channel] = x[channel] / (kappa + alpha * (window**2).sum(axis=0)) ** beta
    return out


def relu(x):
    return np.maximum(x, 0)


def alexnet(pixels, state):
    """One picture uint8 [3, 224, 224] -> pool5 [256, 6, 6] and fc7 [4096]."""
    w = {name: np.asarray(value, np.float64) for name, value in state.items()}
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    x = (pixels / 255 - mean[:, None, None]) / std[:, None, None]

    def layer(x, i, **options):
        return relu(conv(x, w[f"features.{i}.weight"], w[f"features.{i}.bias"], **options))

    x = max_pool(layer(x, 0, stride=4, pad=2))
    x = max_pool(layer(x, 3, pad=2))
    x = layer(layer(layer(x, 6, pad=1), 8, pad=1), 10, pad=1)
    pool5 = max_pool(x)
    f = relu(w["classifier.1.weight"] @ pool5.reshape(-1) + w["classifier.1.bias"])
    return pool5, relu(w["classifier.4.weight"] @ f + w["classifier.4.bias"])


def vgg_f(pixels, layers, mean):
    """One picture uint8 [3, 224, 224] -> pool5 [256, 6, 6] and fc7 [4096], from MatConvNet's own layout of weights.

    layers: name -> (filters [h, w, in, out], biases [1, out]); mean: [224, 224, 3].
    """
    x = pixels - mean.transpose(2, 0, 1)

    def layer(x, name, **options):
        filters, biases = (part.astype(np.float64) for part in layers[name])
        return relu(conv(x, filters.transpose(3, 2, 0, 1), biases.reshape(-1), **options))

    x = max_pool(local_response_norm(layer(x, "conv1", stride=4)), lower_right=1)
    assert x.shape == (64, 27, 27)
    x = max_pool(local_response_norm(layer(x, "conv2", pad=2)))
    assert x.shape == (256, 13, 13)
    pool5 = max_pool(layer(layer(layer(x, "conv3", pad=1), "conv4", pad=1), "conv5", pad=1))
    return pool5, layer(layer(pool5, "fc6"), "fc7").reshape(-1)
