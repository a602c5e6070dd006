/* heap_sample.cc: what gperftools' tcmalloc has sampled, as text, when the process ends: preloaded
 * after tcmalloc, for estimator.py. HEAP_SAMPLE_OUTPUT says where; the pid is appended. */
#include <gperftools/malloc_extension.h>

#include <cstdio>
#include <cstdlib>
#include <string>
#include <unistd.h>

__attribute__((destructor)) static void write_sample()
{
    const char *output = getenv("HEAP_SAMPLE_OUTPUT");
    if (output == nullptr)
        return;
    std::string text;
    MallocExtension::instance()->GetHeapSample(&text);
    FILE *file = fopen((output + ("." + std::to_string(getpid()))).c_str(), "w");
    if (file == nullptr || fwrite(text.data(), 1, text.size(), file) != text.size() ||
        fclose(file) != 0)
        _exit(96);
}
