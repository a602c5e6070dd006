/* symbols_object.c: a library of 1,000 functions, half of them with names as C++ has them, for
 * bench_symbols.c. */
#define CXX(n)                                                                                     \
    void cxx_##n(void) __asm__("_ZN5space6detail12function_" #n "ERKSt6vectorIiSaIiEEm");          \
    void cxx_##n(void)                                                                             \
    {                                                                                              \
        __asm__ volatile(".skip 64, 0x90");                                                        \
    }
#define PLAIN(n)                                                                                   \
    void symbols_object_function_##n(void);                                                        \
    void symbols_object_function_##n(void)                                                         \
    {                                                                                              \
        __asm__ volatile(".skip 64, 0x90");                                                        \
    }
#define BOTH(n) CXX(n) PLAIN(n)
#define TEN(n)                                                                                     \
    BOTH(n##0)                                                                                     \
    BOTH(n##1)                                                                                     \
    BOTH(n##2) BOTH(n##3) BOTH(n##4) BOTH(n##5) BOTH(n##6) BOTH(n##7) BOTH(n##8) BOTH(n##9)
#define HUNDRED(n)                                                                                 \
    TEN(n##0)                                                                                      \
    TEN(n##1) TEN(n##2) TEN(n##3) TEN(n##4) TEN(n##5) TEN(n##6) TEN(n##7) TEN(n##8) TEN(n##9)

HUNDRED(1)
HUNDRED(2)
HUNDRED(3)
HUNDRED(4)
HUNDRED(5)
