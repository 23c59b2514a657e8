"""The `data:` part of an experiment, one small model a loader. Imports nothing heavy."""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

FASHION_MNIST_FOLDER = Path("/usr/share/datasets/fashion-mnist")


def _expand_user(path: Path) -> Path:
    try:
        return path.expanduser()
    except RuntimeError as error:
        raise ValueError(f"{path}: there is no such home folder; give the full path") from error


UserPath = Annotated[Path, AfterValidator(_expand_user)]


# Frozen makes a config hashable, so that jit takes `AugmentConfig` as a static argument.
class AugmentConfig(BaseModel, extra="forbid", frozen=True):
    """What happens to a training image before the network sees it."""

    crop_padding: int = Field(
        default=0, ge=0, description="Pixels of zeros around the image before a random crop."
    )
    flip: bool = Field(default=False, description="Mirror half of the images left to right.")
    cutout: int = Field(
        default=0, ge=0, description="Edge in pixels of a random square that is set to zero."
    )


class _Loader(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    validation: float = Field(
        default=0.1,
        gt=0,
        lt=0.9,
        description="Share of the training images that search and predictors are judged on.",
    )
    augment: AugmentConfig = AugmentConfig()

    def reading(self) -> dict[str, Any]:
        """The settings by which a file becomes an image, with the loader's name as `type`."""
        return self.model_dump(mode="json", exclude={"path", "validation", "augment"})


class DigitsConfig(_Loader):
    """1,797 handwritten digits of 8x8 pixels that scikit-learn carries."""

    type: Literal["digits"]


class FashionMnistConfig(_Loader):
    """A folder with the four IDX files of Fashion-MNIST, compressed with gzip or not."""

    type: Literal["fashion_mnist"]
    path: UserPath = Field(
        default=FASHION_MNIST_FOLDER,
        description="Folder; the default is where Debian's dataset-fashion-mnist puts it.",
    )


class Cifar10Config(_Loader):
    """A folder with Hugging Face style `train.parquet` and `test.parquet`, or shards of them."""

    type: Literal["cifar10"]
    path: UserPath = Field(description="Folder with train.parquet and test.parquet.")


class ImageFolderConfig(_Loader):
    """PNG or JPEG files in `train/<class>/`, and in `test/<class>/` where there is a test set."""

    type: Literal["image_folder"]
    path: UserPath = Field(description="Folder with train/<class>/*.png or *.jpg.")
    size: int | None = Field(
        default=None,
        ge=4,
        le=1024,
        description="Scale and centre-crop every image to a square of this edge in pixels.",
    )
    channels: Literal[1, 3] | None = Field(
        default=None, description="1 grayscale, 3 RGB; left out: as the first image is."
    )


class AudioFolderConfig(_Loader):
    """WAV files in `train/<class>/`, and in `test/<class>/` where there is a test set.

    Networks see log-mel spectrograms: images of time by frequency with one channel.
    """

    type: Literal["audio_folder"]
    path: UserPath = Field(description="Folder with train/<class>/*.wav.")
    sample_rate: int = Field(
        default=16_000,
        ge=1_000,
        le=192_000,
        description="Samples a second; files of another rate are resampled.",
    )
    seconds: float = Field(
        default=1.0,
        gt=0,
        le=60,
        description="Length of every sound: the rest is cut off, silence added to shorter ones.",
    )
    window_ms: float = Field(default=40, gt=0, description="Length of a frame in milliseconds.")
    hop_ms: float = Field(
        default=20, gt=0, description="From one frame to the next in milliseconds."
    )
    mels: int = Field(default=40, ge=4, le=256, description="Bands of frequency.")
    lowest_hz: float = Field(
        default=20, ge=0, description="Where the first band begins; the last ends at half the rate."
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.window_ms > self.seconds * 1000:
            raise ValueError(
                f"window_ms: {self.window_ms:g} ms are longer than the sounds "
                f"({self.seconds:g} s): lower it"
            )
        if min(self.window_ms, self.hop_ms) * self.sample_rate < 1000:
            raise ValueError("window_ms and hop_ms must be a sample long at least: raise them")
        if self.lowest_hz * 2 >= self.sample_rate:
            raise ValueError(
                f"lowest_hz: {self.lowest_hz:g} is not below half of sample_rate: lower it"
            )
        return self


class NpzConfig(_Loader):
    """A NumPy archive with x_train and y_train, and x_test and y_test where there is a test set."""

    type: Literal["npz"]
    path: UserPath = Field(description="The .npz file.")


DataConfig = Annotated[
    DigitsConfig
    | FashionMnistConfig
    | Cifar10Config
    | ImageFolderConfig
    | NpzConfig
    | AudioFolderConfig,
    Field(discriminator="type"),
]
