/* plugin.c: built twice, as plugins a and b: the same code at the same offsets, but for the size of
 * the frames. Who remembers a's frame rules for b's addresses walks into the middle of b's frames.
 * In assembler, so that a compiler cannot make more of a difference. */
#define TEXT_(x) #x
#define TEXT(x)  TEXT_(x)

__asm__(
    ".text\n"
    ".type plugin_" TEXT(
        PLUGIN) "_site, @function\n"
                "plugin_" TEXT(
                    PLUGIN) "_site:\n"
                            "    .cfi_startproc\n"
                            "    subq $" TEXT(
                                FRAME) " + 8, %rsp\n"
                                       "    .cfi_adjust_cfa_offset " TEXT(
                                           FRAME) " + 8\n"
                                                  "    call malloc@PLT\n"
                                                  "    addq $" TEXT(
                                                      FRAME) " + 8, %rsp\n"
                                                             "    .cfi_adjust_cfa_offset -(" TEXT(
                                                                 FRAME) " + 8)\n"
                                                                        "    ret\n"
                                                                        "    .cfi_endproc\n"
                                                                        ".size plugin_" TEXT(PLUGIN) "_site, . - plugin_" TEXT(
                                                                            PLUGIN) "_site\n"
                                                                                    ".globl "
                                                                                    "plugin_run\n"
                                                                                    ".type "
                                                                                    "plugin_run, "
                                                                                    "@function\n"
                                                                                    "plugin_run:\n"
                                                                                    "    "
                                                                                    ".cfi_"
                                                                                    "startproc\n"
                                                                                    "    subq "
                                                                                    "$" TEXT(
                                                                                        FRAME) " + "
                                                                                               "8, "
                                                                                               "%rs"
                                                                                               "p\n"
                                                                                               "   "
                                                                                               " ."
                                                                                               "cfi"
                                                                                               "_ad"
                                                                                               "jus"
                                                                                               "t_"
                                                                                               "cfa"
                                                                                               "_of"
                                                                                               "fse"
                                                                                               "t"
                                                                                               " " TEXT(
                                                                                                   FRAME) " + 8\n"
                                                                                                          "    call plugin_" TEXT(
                                                                                                              PLUGIN) "_site\n"
                                                                                                                      "    addq $" TEXT(
                                                                                                                          FRAME) " + 8, %rsp\n"
                                                                                                                                 "    .cfi_adjust_cfa_offset -(" TEXT(
                                                                                                                                     FRAME) " + 8)\n"
                                                                                                                                            "    ret\n"
                                                                                                                                            "    .cfi_endproc\n"
                                                                                                                                            ".size plugin_run, . - plugin_run\n");

/* A file of C has to have something of C. */
extern void *plugin_run(unsigned long size);
