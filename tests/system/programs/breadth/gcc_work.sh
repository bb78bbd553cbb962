# A project of several files with its Makefile, in C and C++: parallel, with link-time optimisation, an archive, errors.
for i in 1 2 3 4; do
    printf '#include <stdio.h>\n#include <string.h>\nint f%d(int x) { char b[64]; snprintf(b, 64, "%%d", x * %d); return (int)strlen(b) + x; }\n' \
        $i $i >f$i.c
done
cat >main.c <<'END'
#include <stdio.h>
int f1(int), f2(int), f3(int), f4(int);
int main(void) { printf("%d\n", f1(1) + f2(20) + f3(300) + f4(4000)); return 0; }
END
cat >Makefile <<'END'
OBJECTS = f1.o f2.o f3.o f4.o main.o
CFLAGS = -O2 -flto -Wall
prog: $(OBJECTS)
	@$(CC) $(CFLAGS) -o $@ $(OBJECTS)
%.o: %.c
	@$(CC) $(CFLAGS) -c $<
END
make -s -j2 && ./prog && sha256sum <prog
cat >a.cc <<'END'
#include <iostream>
#include <thread>
#include <vector>
int main() {
    std::vector<int> kept;
    for (int i = 0; i < 1000; i++) kept.push_back(i * 2);
    std::thread([&] { kept.push_back(1); }).join();
    try { throw 5; } catch (int thrown) { std::cout << kept.size() + thrown << "\n"; }
}
END
g++ -O1 -pipe -pthread a.cc -o a && ./a
ar rc all.a f1.o f2.o && ar t all.a
echo 'int main() {' >bad.c
gcc bad.c 2>/dev/null
echo "status $?"
make -s -k nothing 2>/dev/null
echo "status $?"
