/* What the program `opens` loads. */
static const volatile int constants[3000] = {1, 2, 3};
static volatile int data[3000] = {4, 5, 6}, zeros[9000];
static volatile int *const volatile relocated = &data[1];

int answer(void) {
    int all = 0;
    for (int i = 0; i < 3000; i++) all += constants[i] + data[i] + zeros[i * 3];
    zeros[8999]++;
    return all + *relocated;
}
