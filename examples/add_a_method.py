"""Add a method: the input gradient times the input, without a hook or a class."""

from sightline.methods.registry import methods


@methods(
    "my-gradient-x-input",
    needs="input-gradient",
    signed=True,
    class_agnostic=False,
    resolution="input",
    source="Shrikumar 2016, arXiv:1605.01713",
)
def gradient_x_input(context, targets):
    """Input gradient times input, summed over channels."""
    return (context.input_gradient(targets) * context.x[:, None]).sum(2)  # (N, T, h, w)
