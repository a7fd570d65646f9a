"""What other libraries call the keywords and settings of Vitrail, for the hints in errors."""

import re
from collections.abc import Iterable

# Names of timm, transformers, vit-pytorch, lightly, the official Vim and their users, and the names
# here that may stand for them. The first one that exists where the name was given is the hint.
NAMES: dict[str, tuple[str, ...]] = {
    # models
    "img_size": ("image_size",), "image_height": ("image_size",), "input_size": ("image_size",),
    "resolution": ("image_size",), "frames": ("image_size",), "seq_len": ("image_size",),
    "max_frames": ("image_size",), "num_frames": ("image_size",),
    "image_patch_size": ("patch_size",), "frame_patch_size": ("patch_size",),
    "tubelet_size": ("patch_size",), "kernel_size": ("patch_size",),
    "frame_kernel_size": ("patch_size",), "sm_patch_size": ("patch_size",),
    "lg_patch_size": ("patch_size",), "patch": ("patch_size",),
    "in_chans": ("channels",), "num_channels": ("channels",), "in_channels": ("channels",),
    "embed_dim": ("dim",), "hidden_size": ("dim",), "hidden_dim": ("dim",), "d_model": ("dim",),
    "embed_dims": ("dim",), "hidden_sizes": ("dim",), "dims": ("dim",), "sm_dim": ("dim",),
    "lg_dim": ("dim",), "emb_dim": ("dim",), "embedding_dim": ("dim",),
    "dim_conv_stem": ("stem_dim",), "ssa_dim_key": ("key_ratio",),
    "num_layers": ("depth",), "num_hidden_layers": ("depth",), "depths": ("depth",),
    "n_layers": ("depth",), "block_repeats": ("depth",), "sm_enc_depth": ("branch_depth",),
    "lg_enc_depth": ("branch_depth",), "n_conv_layers": ("convolutions",),
    "spatial_depth": ("depth",), "temporal_depth": ("depth",),
    "num_heads": ("heads",), "num_attention_heads": ("heads",), "n_heads": ("heads",),
    "nhead": ("heads",), "sm_enc_heads": ("heads",), "lg_enc_heads": ("heads",),
    "cross_attn_heads": ("heads",),
    "intermediate_size": ("mlp_dim", "mlp_ratio"), "dim_feedforward": ("mlp_dim", "mlp_ratio"),
    "mlp_ratio": ("mlp_dim",), "mlp_mult": ("mlp_ratio", "mlp_dim"), "mlp_dim": ("mlp_ratio",),
    "sm_enc_mlp_dim": ("mlp_ratio",), "lg_enc_mlp_dim": ("mlp_ratio",),
    "window_size": ("window",), "local_window_size": ("window",),
    "global_window_size": ("window",), "local_patch_size": ("window",),
    "reduction_factor": ("reduction",), "global_k": ("reduction",),
    "kv_proj_stride": ("kv_stride",), "tokenize_local_3_conv": ("stem",),
    "drop_rate": ("dropout",), "attn_drop_rate": ("dropout",), "proj_drop_rate": ("dropout",),
    "hidden_dropout_prob": ("dropout",), "attention_probs_dropout_prob": ("dropout",),
    "attn_dropout": ("dropout",), "ff_dropout": ("dropout",),
    "pos_drop_rate": ("emb_dropout",),
    "drop_path_rate": ("drop_path",), "stochastic_depth": ("drop_path",),
    "stochastic_depth_prob": ("drop_path",), "layer_dropout": ("drop_path",),
    "global_pool": ("pool",), "pooling": ("pool",),
    "num_labels": ("num_classes",), "n_classes": ("num_classes",), "classes": ("num_classes",),
    "max_tokens_per_depth": ("samples",), "patch_merge_num_tokens": ("tokens",),
    "num_tokens_out": ("tokens",), "patch_merge_layer": ("merge_after",),
    "num_parallel_branches": ("branches",), "variant": ("form",),
    "reg_tokens": ("registers",), "num_registers": ("registers",),
    "num_register_tokens": ("registers",),
    "init_values": ("layer_scale",), "layerscale_value": ("layer_scale",),
    "layer_scale_init_value": ("layer_scale",),
    "no_embed_class": ("class_position",), "fc_norm": ("norm_after_pool",),
    "norm_layer": ("norm",), "act_layer": ("activation",), "hidden_act": ("activation",),
    "patch_drop_rate": ("token_dropout",),
    "layer_norm_eps": ("norm_eps",), "cls_depth": ("class_depth",),
    "token_dropout_prob": ("token_dropout",),
    "ssm_order": ("d_state",), "ssm_d_state": ("d_state",), "state_size": ("d_state",),
    "pos_embed": ("position",), "positional_embedding": ("position",), "qkv_bias": ("bias",),
    "pixel_values": ("images",), "imgs": ("images",), "img": ("images",), "x": ("images",),
    "grad_checkpointing": ("gradient_checkpointing",),
    "gradient_checkpoint": ("gradient_checkpointing",),
    # methods
    "encoder": ("backbone",), "model": ("backbone",), "net": ("backbone",),
    "student": ("backbone",), "vit": ("backbone",), "transformer": ("backbone", "mixer"),
    "vision_encoder": ("backbone",), "image_encoder": ("backbone",),
    "masking_ratio": ("mask_ratio",), "mask_prob": ("mask_ratio",),
    "decoder_embed_dim": ("decoder_dim",), "decoder_hidden_size": ("decoder_dim",),
    "decoder_num_heads": ("decoder_heads",), "decoder_num_attention_heads": ("decoder_heads",),
    "decoder_num_hidden_layers": ("decoder_depth",),
    "norm_pix_loss": ("norm_pixels",),
    "student_temp": ("student_temperature",), "teacher_temp": ("teacher_temperature",),
    "moving_average_decay": ("momentum",), "momentum_teacher": ("momentum",),
    "center_moving_average_decay": ("center_momentum",), "num_classes_K": ("out_dim",),
    "projection_hidden_size": ("head_dims",), "projection_layers": ("head_dims",),
    "replace_prob": ("token_ratio",), "random_patch_prob": ("swap_ratio",), "hard": ("kind",),
    "num_memories_per_layer": ("memories",), "layer_name": ("layer",), "attn_layers": ("mixer",),
    "filter": ("pattern",),
    # training
    "learning_rate": ("lr",), "base_lr": ("lr",), "blr": ("lr",), "max_lr": ("lr",),
    "num_train_epochs": ("epochs",), "num_epochs": ("epochs",), "max_epochs": ("epochs",),
    "per_device_train_batch_size": ("batch_size",), "train_batch_size": ("batch_size",),
    "bs": ("batch_size",),
    "output_dir": ("out",), "save_dir": ("out",), "log_dir": ("out",),
    "wd": ("weight_decay",), "warmup_ratio": ("warmup",),
    "gradient_accumulation_steps": ("accumulate",),
    "accumulate_grad_batches": ("accumulate",), "accum_iter": ("accumulate",),
    "max_grad_norm": ("clip",), "clip_grad": ("clip",), "gradient_clip_val": ("clip",),
    "num_workers": ("workers",), "dataloader_num_workers": ("workers",),
    "random_seed": ("seed",), "smoothing": ("label_smoothing",),
    "label_smoothing_factor": ("label_smoothing",), "min_learning_rate": ("min_lr",),
    "resume_from_checkpoint": ("resume",), "train_dataset": ("data",), "dataset": ("data",),
    "data_dir": ("data",), "color_jitter": ("jitter",), "reprob": ("erasing",),
    "model_ema_decay": ("ema",), "opt": ("optimizer",), "optim": ("optimizer",),
    "name": ("optimizer", "shape"), "scheduler": ("shape",), "sched": ("shape",),
    "lr_scheduler_type": ("shape",),
    # values
    "avg": ("mean",), "gap": ("mean",), "average": ("mean",), "token": ("cls",), "map": ("mean",),
}  # fmt: skip

# How a name differs from the keyword, where the keyword is more than another spelling.
NOTES = {
    "frames": "image_size=(frames, height, width)",
    "max_frames": "image_size=(frames, height, width)",
    "seq_len": "image_size=(length,)",
    "frame_patch_size": "patch_size=(frames, height, width)",
    "image_patch_size": "patch_size, with the frames first where there are any",
    "tubelet_size": "patch_size=(frames, height, width)",
    "num_frames": "image_size=(frames, height, width)",
    "frame_kernel_size": "patch_size=(frames, height, width)",
    "sm_patch_size": "patch_size, a tuple with an entry per branch",
    "lg_patch_size": "patch_size, a tuple with an entry per branch",
    "sm_enc_depth": "branch_depth, a tuple with an entry per branch",
    "lg_enc_depth": "branch_depth, a tuple with an entry per branch",
    "sm_enc_mlp_dim": "mlp_ratio, which is mlp_dim divided by the width",
    "lg_enc_mlp_dim": "mlp_ratio, which is mlp_dim divided by the width",
    "ssa_dim_key": "key_ratio, the width of the keys of all heads divided by dim",
    "tokenize_local_3_conv": "stem, '3conv' or '1conv'",
    "sm_dim": "dim, a tuple with an entry per branch",
    "lg_dim": "dim, a tuple with an entry per branch",
    "spatial_depth": "depth, a tuple (spatial, temporal) where there are two",
    "temporal_depth": "depth, a tuple (spatial, temporal) where there are two",
    "no_embed_class": "class_position, which is its opposite",
    "norm_layer": "norm, 'layer' or 'rms'",
    "hard": "kind, 'hard' or 'soft'",
    "projection_layers": "head_dims, the widths of its layers",
    "attn_layers": "mixer, a function that is called for each block",
    "mlp_ratio": "mlp_dim, which is the ratio times dim",
    "mlp_dim": "mlp_ratio, which is mlp_dim divided by the width",
    "encoder": "backbone, the first argument",
}

# Keywords of other libraries that are no keyword here, and what does the same.
PAPER = "It is the paper's, in the code of the model."
NO_DROPOUT = "The paper's model has no such dropout."
STAGES = "The number of stages is the length of dim, depth and heads."
ANY_SIZE = "Images of other sizes need no keyword: positions are resampled."
INTERMEDIATES = "Every model gives its feature maps: model.intermediates(images, layers)."
PARTS = "For other layers, write a model of your own: docs/en/your_own.md shows one."
BIASES = "Biases are where the paper's code has them."
INITIAL = "Initial values are the paper's; a subclass overrides init_weights."
POOLER = "There is no pooler: model.pool gives the class token or the mean of the patches."
CROPS = "Crops are settings of the data: data.crops.global_scale and local_scale."
DEVICE, DTYPE = "Call model.to(device).", "Call model.to(dtype)."
DONE_OTHERWISE = {
    "pretrained": "Published weights come by vitrail.create_model(VARIANT, pretrained=True).",
    "checkpoint_path": "Weights are read by vitrail.load(FOLDER).",
    "features_only": INTERMEDIATES,
    "out_indices": INTERMEDIATES,
    "output_attentions": "Attention weights are recorded by vitrail.record(model).",
    "output_hidden_states": "Hidden states are given by model.intermediates(images, layers).",
    "return_dict": "A model returns its logits.",
    "attn_implementation": "Fused attention is always used, unless someone records the weights.",
    **dict.fromkeys(
        ("grad_checkpointing", "gradient_checkpoint", "gradient_checkpointing"),
        "Call model.set_gradient_checkpointing()."
    ),
    "id2label": "Assign model.labels, a list of class names.",
    "label2id": "Assign model.labels, a list of class names.",
    "ignore_mismatched_sizes": "Give num_classes: the head of another size is a new one.",
    "interpolate_pos_encoding": ANY_SIZE,
    "dynamic_img_size": ANY_SIZE,
    "dropout": NO_DROPOUT,
    "emb_dropout": NO_DROPOUT,
    "dim_head": "A head is dim / heads wide.",
    "patch_drop_rate": "Methods drop patches, as MAE does.",
    "encoder_stride": "SimMIM has its own head.",
    "pooler_output_size": POOLER,
    "pooler_act": POOLER,
    "decoder": "The decoder is part of it: decoder_dim, decoder_depth, decoder_heads.",
    "text_encoder": "The text tower is part of it: text_dim, text_depth, text_heads.",
    "teacher": "The teacher is made from the backbone.",
    **dict.fromkeys(("image_size", "patch_size", "dim"), "It is given by the model."),
    "window_size": "Windows are a mixer of yours: docs/en/coming_from_elsewhere.md shows one.",
    "hidden_layer": "What is read of a model is its pooled features, or its patches.",
    "local_upper_crop_scale": CROPS,
    "global_lower_crop_scale": CROPS,
    "device": DEVICE,
    "device_map": DEVICE,
    "dtype": DTYPE,
    "torch_dtype": DTYPE,
    "qkv_bias": BIASES,
    "proj_bias": BIASES,
    "weight_init": INITIAL,
    "fix_init": INITIAL,
    "initializer_range": INITIAL,
    "dynamic_img_pad": ANY_SIZE,
    "stages": STAGES,
    "num_hierarchies": STAGES,
    **dict.fromkeys(
        ("padding", "pooling_kernel_size", "pooling_stride", "pooling_padding", "t2t_layers",
         "emb_kernel", "emb_stride", "proj_kernel", "mlp_mult", "cross_attn_depth",
         "local_patch_kernel_size", "peg_kernel_size", "use_peg", "mbconv_expansion_rate",
         "mbconv_shrinkage_rate"), PAPER
    ),
    **dict.fromkeys(
        ("act_layer", "hidden_act", "norm_layer", "embed_layer", "embed_norm_layer", "attn_layer",
         "mlp_layer", "block_fn", "pre_norm", "final_norm", "scale_attn_norm", "scale_mlp_norm",
         "pool_include_prefix"), PARTS
    ),
}  # fmt: skip
# Classes and functions of other libraries and of learning guides, and what to use here.
OBJECTS = {
    "VisionTransformer": "vitrail.ViT",
    "SwinTransformer": "vitrail.Swin",
    "TwinsSVT": "vitrail.Twins",
    "Vim": "vitrail.VisionMamba",
    "TransformerEncoderBlock": "vitrail.layers.Block",
    "TransformerBlock": "vitrail.layers.Block",
    "MultiHeadAttention": "vitrail.layers.Attention",
    "MultiHeadSelfAttention": "vitrail.layers.Attention",
    "MultiheadAttention": "vitrail.layers.Attention",
    "FeedForward": "vitrail.layers.Mlp",
    "PatchEmbedding": "vitrail.layers.PatchEmbed",
    "DistillWrapper": "vitrail.methods.Distill",
    "create_vit": 'vitrail.create_model("vit_base_patch16_224")',
    "create_transform": "model.preprocess",
    "resolve_data_config": "model.preprocess",
    "resolve_model_data_config": "model.preprocess",
    "ViTImageProcessor": "model.preprocess",
    "AutoImageProcessor": "model.preprocess",
    "AutoModel": "vitrail.load(ID)",
    "AutoModelForImageClassification": "vitrail.load(ID)",
    "ViTForImageClassification": "vitrail.load(ID)",
    "ViTModel": "vitrail.load(ID)",
    "ViTConfig": "vitrail.ViT, whose keywords are its config",
    "CLIPModel": "vitrail.load_method(ID)",
    "ViTMAEForPreTraining": "vitrail.load_method(ID)",
    "pipeline": "vitrail.predict",
    "Trainer": "vitrail.fit",
    "is_model": "vitrail.list_models",
}
STAGE = re.compile(r"s\d_(\w+)")  # vit-pytorch's keywords of one stage, such as "s2_heads"


def name_here(name: str, choices: Iterable[str]) -> str:
    """A sentence that says what does here what another library's keyword does.

    Args:
        name: the name that is unknown, or a key with sections such as "optim.learning_rate".
        choices: the keywords of the same call, or the keys of all settings.

    Returns:
        The sentence, with a leading space; "" if nothing is known about the name, or none of its
        names here is among the choices.

    Example:
        >>> name_here("num_heads", ["dim", "heads"])
        " Here it is called 'heads'."
        >>> name_here("optim.learning_rate", ["optim.lr"])
        " Here it is called 'optim.lr'."
        >>> name_here("s2_emb_dim", ["dim", "heads"])
        ' Here it is dim, one keyword for all stages.'
        >>> name_here("dim_head", ["dim", "heads"])
        ' A head is dim / heads wide.'
        >>> name_here("num_heads", ["kernel"])
        ''
    """
    section, dot, last = name.rpartition(".")
    keys = list(choices)
    stage = STAGE.fullmatch(last)
    if stage:
        last = stage[1]
    targets = (*NAMES.get(last, ()), *[last] * bool(stage))
    same_section = [f"{section}{dot}{target}" for target in targets]
    elsewhere = [k for t in targets for k in keys if section and k.rpartition(".")[2] == t]
    for key in [*(key for key in same_section if key in keys), *elsewhere][:1]:
        target = key.rpartition(".")[2]
        note = f"{target}, one keyword for all stages" if stage else NOTES.get(last, "")
        return f" Here it is {note}." if note else f" Here it is called {key!r}."
    return f" {DONE_OTHERWISE[last]}" if last in DONE_OTHERWISE else ""
