/* Loads ./library.so, asks it, and unloads it. */
#include <dlfcn.h>
#include <stdio.h>

int main(void) {
    for (int i = 0; i < 2; i++) {
        void *library = dlopen("./library.so", RTLD_NOW);
        int (*answer)(void) = library ? (int (*)(void))dlsym(library, "answer") : 0;
        if (!answer) {
            printf("error: %s\n", dlerror());
            return 8;
        }
        printf("answer %d\n", answer());
        dlclose(library);
    }
    return 7;
}
