#include "tensor/pickle_globals.h"

#include <stddef.h>
#include <string.h>

static const struct pickle_global globals[] = {
    {"collections.OrderedDict", MAKES_DICT},
    {"torch.nn.modules.container.ParameterDict", MAKES_DICT},
    {"builtins.dict", MAKES_DICT},
    {"__builtin__.dict", MAKES_DICT},
    {"torch._utils._rebuild_tensor", MAKES_CALL},
    {"torch._utils._rebuild_tensor_v2", MAKES_CALL},
    {"torch._utils._rebuild_parameter", MAKES_CALL},
    {"torch.FloatStorage", MAKES_OTHER},
    {"torch.HalfStorage", MAKES_OTHER},
    {"torch.BFloat16Storage", MAKES_OTHER},
    {"torch.DoubleStorage", MAKES_OTHER},
    {"torch.LongStorage", MAKES_OTHER},
    {"torch.IntStorage", MAKES_OTHER},
    {"torch.ShortStorage", MAKES_OTHER},
    {"torch.CharStorage", MAKES_OTHER},
    {"torch.ByteStorage", MAKES_OTHER},
    {"torch.BoolStorage", MAKES_OTHER},
    {"torch.Size", MAKES_OTHER},
    {"torch.device", MAKES_OTHER},
    {"torch.float32", MAKES_OTHER},
    {"torch.float16", MAKES_OTHER},
    {"torch.bfloat16", MAKES_OTHER},
    {"torch.float64", MAKES_OTHER},
    {"torch.int64", MAKES_OTHER},
    {"numpy.dtype", MAKES_OTHER},
    {"numpy.ndarray", MAKES_OTHER},
    {"numpy.core.multiarray.scalar", MAKES_OTHER},
    {"numpy.core.multiarray._reconstruct", MAKES_OTHER},
    {"numpy._core.multiarray.scalar", MAKES_OTHER},
    {"numpy._core.multiarray._reconstruct", MAKES_OTHER},
    {"_codecs.encode", MAKES_OTHER},
    {"builtins.set", MAKES_OTHER},
    {"__builtin__.set", MAKES_OTHER},
    {"collections.defaultdict", MAKES_OTHER},
    {"argparse.Namespace", MAKES_OTHER},
    {"pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint", MAKES_OTHER},
    {"pytorch_lightning.utilities.parsing.AttributeDict", MAKES_OTHER},
    {"lightning_fabric.utilities.data.AttributeDict", MAKES_OTHER},
    {"omegaconf.dictconfig.DictConfig", MAKES_OTHER},
    {"omegaconf.listconfig.ListConfig", MAKES_OTHER},
    {"omegaconf.base.ContainerMetadata", MAKES_OTHER},
    {"omegaconf.base.Metadata", MAKES_OTHER},
    {"omegaconf.nodes.AnyNode", MAKES_OTHER},
    {"typing.Any", MAKES_OTHER},
    {"builtins.list", MAKES_OTHER},
    {"builtins.int", MAKES_OTHER},
};

const struct pickle_global *pickle_global_find(const char *name)
{
    for (size_t i = 0; i < sizeof globals / sizeof *globals; i++)
        if (strcmp(globals[i].name, name) == 0)
            return &globals[i];
    return NULL;
}
