"""Records of what may happen to clips and spectrograms, from the arguments."""

from accelerate import Accelerator

from utils.arguments.train import TrainArguments
from utils.audio.augmentation import Augmentation
from utils.audio.augmentation_checks import check_augmentation
from utils.audio.non_speech import NonSpeech, check_non_speech
from utils.audio.spec_augment import SpecAugment


def choose_augmentation(args: TrainArguments, accelerator: Accelerator) -> Augmentation:
    """What may happen to the audio of a clip, looked at before anything long begins."""
    augmentation = Augmentation(
        speed_factors=tuple(args.speed_factors),
        reverb_probability=args.reverb_probability,
        reverb_dir=args.reverb_dir,
        reverb_rt60=tuple(args.reverb_rt60),
        noise_probability=args.noise_probability,
        noise_dir=args.noise_dir,
        noise_snr_db=tuple(args.noise_snr_db),
        gain_probability=args.gain_probability,
        gain_db=tuple(args.gain_db),
        codec_probability=args.codec_probability,
        codecs=tuple(args.codecs),
    )
    if accelerator.is_main_process:
        check_augmentation(augmentation)
    return augmentation


def choose_non_speech(args: TrainArguments, accelerator: Accelerator) -> NonSpeech:
    """How many windows without speech there are beside the clips, their folder looked at."""
    non_speech = NonSpeech(args.non_speech_share, args.non_speech_dir)
    if accelerator.is_main_process:
        check_non_speech(non_speech)
    return non_speech


def choose_spec_augment(args: TrainArguments) -> SpecAugment | None:
    """How spectrograms are masked, if they are."""
    if not args.apply_spec_augment:
        return None
    return SpecAugment(
        mask_time_prob=args.mask_time_prob,
        mask_time_length=args.mask_time_length,
        mask_time_min_masks=args.mask_time_min_masks,
        mask_feature_prob=args.mask_feature_prob,
        mask_feature_length=args.mask_feature_length,
        mask_feature_min_masks=args.mask_feature_min_masks,
    )
