/* open(2), openat(2), openat2(2) and creat(2), where an enclave has injected files or a manifest. */
#ifndef CLOISTER_OPENING_H
#define CLOISTER_OPENING_H

#include "call.h"

/* Makes `path` absolute (the working directory, or that of `directory`) and takes out ".", ".." and doubled slashes, by the text
 * alone. False if it does not fit or the directory has no path. */
NODISCARD bool path_normalise(int directory, const char *path, char out[], size_t size);
NODISCARD long opening_call(const struct call *call);

#endif
