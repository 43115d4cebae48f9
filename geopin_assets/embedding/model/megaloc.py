"""MegaLoc (Berton and Masone, 2025) in torch alone: DINOv2's ViT-B/14, optimal-transport aggregation, one linear layer.

Written from the publications: arXiv 2502.17237 (the model), 2311.15937 (SALAD, the aggregation), 2304.07193 (DINOv2,
the backbone). Names of parameters are those of the published checkpoints, so these load strictly: `megaloc.torch`,
which has the backbone under `backbone.model` and a mask token that only training uses, and tensors named as in the
authors' later file, which has neither. Not here: its input of 322 x 322 (`views.py`), or fewer dimensions
(`whitening.py`).
"""

from collections.abc import Mapping
from math import log

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WIDTH, DEPTH, HEADS, PATCH_PX, TRAINED_PATCHES = 768, 12, 12, 14, 37
"""Of ViT-B/14, whose positions were learned at 518 px."""
CLUSTERS, CLUSTER_DIM, TOKEN_DIM, HIDDEN, DIM = 64, 256, 256, 512, 8_448
_ITERATIONS = 3
_OFFSET = 0.1
"""Patches that DINOv2 adds before it scales its positions, so that rounding leaves none out: it shifts them, too."""
_TRAINING_ONLY = "backbone.mask_token"


class _Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.proj = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).unflatten(2, (3, HEADS, WIDTH // HEADS)).permute(2, 0, 3, 1, 4)
        return self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class _Mlp(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class _Scale(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gamma


class _Block(nn.Module):
    """Attention, then two layers for each token; both are added to what comes in, scaled."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.attn, self.ls1 = nn.LayerNorm(WIDTH, eps=1e-6), _Attention(), _Scale()
        self.norm2, self.mlp, self.ls2 = nn.LayerNorm(WIDTH, eps=1e-6), _Mlp(), _Scale()

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.ls1(self.attn(self.norm1(x)))
        return x + self.ls2(self.mlp(self.norm2(x)))


class _Patches(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, WIDTH, PATCH_PX, PATCH_PX)

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(x)


class Dino(nn.Module):
    """DINOv2 ViT-B/14 without registers: [N, 3, h, w], both multiples of 14, to normalized tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.cls_token = nn.Parameter(torch.zeros(1, 1, WIDTH))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + TRAINED_PATCHES**2, WIDTH))
        self.patch_embed = _Patches()
        self.blocks = nn.Sequential(*(_Block() for _ in range(DEPTH)))
        self.norm = nn.LayerNorm(WIDTH, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        """The image's token, then those of its patches row by row: [N, 1 + patches, WIDTH]."""
        patches = self.patch_embed(x)
        tokens = torch.cat([self.cls_token.expand(len(x), -1, -1), patches.flatten(2).transpose(1, 2)], dim=1)
        return self.norm(self.blocks(tokens + self._positions(*patches.shape[2:])))

    def _positions(self, rows: int, columns: int) -> Tensor:
        """Learned for 37 x 37 patches; of others bicubic between them."""
        if rows == columns == TRAINED_PATCHES:
            return self.pos_embed
        of_image, of_patches = self.pos_embed.float().split([1, TRAINED_PATCHES**2], dim=1)
        grid = of_patches.transpose(1, 2).unflatten(2, (TRAINED_PATCHES, TRAINED_PATCHES))
        scale = ((rows + _OFFSET) / TRAINED_PATCHES, (columns + _OFFSET) / TRAINED_PATCHES)
        scaled = F.interpolate(grid, scale_factor=scale, mode="bicubic")
        return torch.cat([of_image, scaled.flatten(2).transpose(1, 2)], dim=1).to(self.pos_embed.dtype)


def transported(scores: Tensor, dust: Tensor) -> Tensor:
    """Which share of each of n patches goes to each of m clusters, [N, m, n]; what goes to none of them is left out.

    Entropic optimal transport: every patch gives one, every cluster takes one, and the dustbin the n - m that are left.
    Three rounds of Sinkhorn's scaling, in logarithms.
    """
    batch, clusters, patches = scores.shape
    with_dust = torch.cat([scores, dust.expand(batch, 1, patches)], dim=1)
    takes = scores.new_zeros(clusters + 1, 1)
    takes[-1] = log(patches - clusters)
    per_patch = scores.new_zeros(batch, 1, patches)
    for _ in range(_ITERATIONS):
        per_cluster = takes - torch.logsumexp(with_dust + per_patch, dim=2, keepdim=True)
        per_patch = -torch.logsumexp(with_dust + per_cluster, dim=1, keepdim=True)
    return (with_dust + per_cluster + per_patch)[:, :-1].exp()


def _per_patch(outputs: int) -> nn.Sequential:
    """Two layers for each patch; numbers 0 and 3 of the checkpoint, as a dropout stood between in training."""
    return nn.Sequential(nn.Conv2d(WIDTH, HIDDEN, 1), nn.Identity(), nn.ReLU(), nn.Conv2d(HIDDEN, outputs, 1))


class Salad(nn.Module):
    """Features of patches, gathered by the clusters they are transported to, beside the image's token."""

    def __init__(self) -> None:
        super().__init__()
        self.token_features = nn.Sequential(nn.Linear(WIDTH, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, TOKEN_DIM))
        self.cluster_features, self.score = _per_patch(CLUSTER_DIM), _per_patch(CLUSTERS)
        self.dust_bin = nn.Parameter(torch.tensor(1.0))

    def forward(self, tokens: Tensor) -> Tensor:
        """[N, 1 + patches, WIDTH] to unit rows [N, TOKEN_DIM + CLUSTER_DIM * CLUSTERS]."""
        patches = tokens[:, 1:].transpose(1, 2)[..., None]  # one row: nothing here looks at neighbors
        shares = transported(self.score(patches).flatten(2), self.dust_bin)
        gathered = self.cluster_features(patches).flatten(2) @ shares.transpose(1, 2)
        parts = F.normalize(self.token_features(tokens[:, 0]), dim=1), F.normalize(gathered, dim=1).flatten(1)
        return F.normalize(torch.cat(parts, dim=1), dim=1)


class _Aggregator(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.agg, self.linear = Salad(), nn.Linear(TOKEN_DIM + CLUSTERS * CLUSTER_DIM, DIM)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.linear(self.agg(tokens))


class MegaLocNetwork(nn.Module):
    """Normalized RGB [N, 3, h, w], h and w multiples of 14, to float32 [N, 8448] of unit length."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone, self.aggregator = Dino(), _Aggregator()

    def forward(self, x: Tensor) -> Tensor:
        """The backbone may be in half precision, the head never is."""
        tokens = self.backbone(x.to(self.backbone.cls_token.dtype))
        return F.normalize(self.aggregator(tokens.float()), dim=1)


def named_as_here(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a published checkpoint, without what only training uses."""
    renamed = {name.replace("backbone.model.", "backbone.", 1): tensor for name, tensor in state.items()}
    renamed.pop(_TRAINING_ONLY, None)
    return renamed
