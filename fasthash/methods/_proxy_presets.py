"""Presets of the methods with a proxy for each class: DSPH, and DCGH, which grew out of it."""

from fasthash.methods._base import Preset

PROXY_PRESETS = {
    data: Preset(
        f"fasthash's own: one hidden layer on features, fewer epochs; chosen on a fifth of {data}'s training rows"
        " at 64 bits",
        {"centre": True, "normalize": True, "image_hidden": hidden, "text_hidden": hidden, **values},
    )
    for data, hidden, values in (
        ("wiki", (256,), {"epochs": 40, "lr": 3e-3, "dropout": 0.2, "code_dropout": 0.0}),
        ("fashion_products", (512,), {"epochs": 15, "lr": 2e-3, "dropout": 0.2}),
        ("movie_posters", (256,), {"epochs": 20, "dropout": 0.5}),
        (
            "emoji",
            (512,),
            {
                "epochs": 30, "batch_size": 64, "lr": 3e-3, "dropout": 0.5, "code_dropout": 0.0,
                "lr_proxies": 0.1,
            },
        ),
    )
}  # fmt: skip
