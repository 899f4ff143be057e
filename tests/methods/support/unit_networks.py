"""Networks written in the ways that users write them, on which the graph of units is tested."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class Functional(nn.Module):
    """Activations, pooling and flattening are functions; layers are declared in another order than called."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(10, 3)
        self.dense = nn.Linear(6 * 4, 10)
        self.second = nn.Conv2d(4, 6, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.first = nn.Conv2d(1, 4, 3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        features = functional.max_pool2d(functional.relu(self.norm(self.first(images))), 2)
        features = functional.adaptive_avg_pool2d(functional.relu_(self.second(features)), 2)
        hidden = torch.flatten(functional.dropout(features, 0.5, self.training), 1)
        hidden = functional.relu(self.dense(hidden.view(hidden.shape[0], -1)))
        outputs: Tensor = self.head(hidden)
        return outputs


class Residual(nn.Module):
    """One ReLU module for all activations; a stream that two layers write to and three read."""

    def __init__(self) -> None:
        super().__init__()
        self.relu = nn.ReLU()
        self.embed, self.inner, self.back = nn.Linear(5, 8), nn.Linear(8, 6), nn.Linear(6, 8)
        self.norm = nn.LayerNorm(8)
        self.head = nn.Linear(8, 2)

    def forward(self, inputs: Tensor) -> Tensor:
        stream = self.relu(self.embed(inputs))
        stream = self.relu(stream + self.back(self.relu(self.inner(stream))))
        outputs: Tensor = self.head(self.norm(stream))
        return outputs


class Gated(nn.Module):
    """`silu(a)·b`: a channel of `a` and the same of `b` are one unit."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.down = nn.Linear(5, 8), nn.Linear(5, 8), nn.Linear(8, 2)

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.down(functional.silu(self.a(inputs)) * self.b(inputs))
        return outputs


class Depthwise(nn.Module):
    """A depthwise convolution carries the channels of the first on; BatchNorm and PReLU have an entry for each."""

    def __init__(self) -> None:
        super().__init__()
        self.wide = nn.Conv2d(3, 8, 1, bias=False)
        self.depthwise = nn.Conv2d(8, 8, 3, groups=8, padding=1)
        self.norm, self.act = nn.BatchNorm2d(8), nn.PReLU(8)
        self.narrow = nn.Conv2d(8, 4, 1)

    def forward(self, images: Tensor) -> Tensor:
        outputs: Tensor = self.narrow(
            self.act(self.norm(self.depthwise(functional.relu6(self.wide(images)))))
        )
        return outputs


class Sequences(nn.Module):
    """Convolution over time, permuted to (time, batch, channels), of which the last step is read."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.act, self.head = nn.Conv1d(3, 8, 3), nn.GELU(), nn.Linear(8, 2)

    def forward(self, series: Tensor) -> Tensor:
        features = self.act(self.conv(series)).permute(2, 0, 1).contiguous()
        outputs: Tensor = self.head(features[-1, :, None].squeeze(1))
        return outputs


class Block(nn.Module):
    """A residual block with one ReLU that works in place, and a sum in place."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(4, 4, 3), nn.Conv2d(4, 4, 3, padding=1)
        self.norms = nn.ModuleList([nn.BatchNorm2d(4), nn.BatchNorm2d(4)])
        self.relu = nn.ReLU(inplace=True)

    def forward(self, images: Tensor) -> Tensor:
        features = self.relu(self.norms[0](self.first(functional.pad(images, (1, 1, 1, 1)))))
        features = self.norms[1](self.second(features))
        features += images
        outputs: Tensor = self.relu(features)
        return outputs


class InPlace(nn.Module):
    """Two such blocks behind a stem; the largest value of each channel is read."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.act = nn.Conv2d(1, 4, 1), nn.ReLU(inplace=True)
        self.blocks, self.head = nn.Sequential(Block(), Block()), nn.Linear(4, 2)

    def forward(self, images: Tensor) -> Tensor:
        features = self.blocks(self.act(self.stem(images)))
        outputs: Tensor = self.head(features.flatten(2).max(-1).values)
        return outputs


class Concatenated(nn.Module):
    """Two branches side by side, read by one layer, behind which there is a pair."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Linear(5, 4), nn.Linear(5, 4)
        self.joint, self.head = nn.Linear(8, 6), nn.Linear(6, 2)
        self.act = nn.Tanh()

    def forward(self, inputs: Tensor) -> Tensor:
        both = torch.cat([self.act(self.left(inputs)), self.act(self.right(inputs))], 1)
        outputs: Tensor = self.head(self.act(self.joint(both)))
        return outputs


class Split(nn.Module):
    """The channels of one layer are taken apart."""

    def __init__(self) -> None:
        super().__init__()
        self.both, self.down, self.head = nn.Linear(5, 8), nn.Linear(4, 6), nn.Linear(6, 2)
        self.act = nn.SiLU()

    def forward(self, inputs: Tensor) -> Tensor:
        gate, value = self.both(inputs).chunk(2, dim=-1)
        outputs: Tensor = self.head(self.act(self.down(self.act(gate) * value)))
        return outputs


class Decoder(nn.Module):
    """A transposed convolution among others."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.up = nn.Conv2d(1, 4, 3), nn.ConvTranspose2d(4, 6, 3)
        self.mix, self.head = nn.Conv2d(6, 8, 1), nn.Conv2d(8, 1, 1)
        self.act = nn.ReLU(inplace=True)

    def forward(self, images: Tensor) -> Tensor:
        outputs: Tensor = self.head(self.act(self.mix(self.act(self.up(self.act(self.down(images)))))))
        return outputs


class WithFeatures(nn.Module):
    """Gives the activations of the first hidden layer beside the outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.head = nn.Linear(5, 8), nn.Linear(8, 6), nn.Linear(6, 2)
        self.act = nn.ReLU()

    def forward(self, inputs: Tensor) -> dict[str, Tensor]:
        features = self.act(self.first(inputs))
        return {"features": features, "outputs": self.head(self.act(self.second(features)))}


class Recurrent(nn.Module):
    """One layer that is run three times on its own result: its rows and columns are the same units."""

    def __init__(self) -> None:
        super().__init__()
        self.start, self.step, self.head = nn.Linear(5, 8), nn.Linear(8, 8, bias=False), nn.Linear(8, 2)
        self.act = nn.Tanh()

    def forward(self, inputs: Tensor) -> Tensor:
        state = self.act(self.start(inputs))
        for _ in range(3):
            state = self.act(self.step(state))
        outputs: Tensor = self.head(state)
        return outputs


class Linear(nn.Module):
    """Hidden layers without a nonlinearity, and an output behind a softmax."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(5, 8), nn.Linear(8, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.second(self.first(inputs)).softmax(-1)  # type: ignore[no-any-return]
