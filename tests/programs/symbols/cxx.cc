/* cxx.cc: allocations in C++ whose stacks are known; c.c says how. */
#include <vector>

#include "symbols.h"

#define NOINLINE __attribute__((noinline))
#define INLINE   __attribute__((always_inline)) inline

namespace space
{

template <typename T, int rows> struct Holder {
    NOINLINE static T *make(size_t size)
    {
        void *block = malloc(size); // @2003.0 space::Holder::make = _ZN5space6HolderIdLi3EE4makeEm
        return static_cast<T *>(touch(block));
    }
};

template <typename T> NOINLINE T *of_template(const std::vector<T> &like, size_t size)
{
    T *block = Holder<T, 3>::make(size + like.size()); // @2003.1 space::of_template
    return static_cast<T *>(touch(block));
}

class Widget
{
  public:
    NOINLINE explicit Widget(size_t size)
    {
        block = malloc(size); // @2011.0 space::Widget::Widget
        touch(this);
    }
    void *grow(size_t size) const;
    NOINLINE void *operator()(size_t size)
    {
        block = malloc(size); // @2017.0 space::Widget::operator() = _ZN5space6WidgetclEm
        return touch(block);
    }
    void *block;
};

NOINLINE void *Widget::grow(size_t size) const
{
    void *more = malloc(size); // @2027.0 space::Widget::grow = _ZNK5space6Widget4growEm
    return touch(more);
}

} // namespace space

// ---- five deep ----

namespace deep
{

INLINE void *one(size_t size)
{
    void *block = malloc(size); // @2029.0 deep::one = _ZN4deep3oneEm inlined
    return touch(block);
}

INLINE void *two(size_t size)
{
    void *block = one(size); // @2029.1 deep::two = _ZN4deep3twoEm inlined
    return touch(block);
}

template <typename T> INLINE void *three(T size)
{
    void *block = two(size); // @2029.2 deep::three = _ZN4deep5threeImEEPvT_ inlined
    return touch(block);
}

struct Four {
    INLINE void *four(size_t size) const
    {
        void *block = three(size); // @2029.3 deep::Four::four = _ZNK4deep4Four4fourEm inlined
        return touch(block);
    }
};

static INLINE void *five(size_t size)
{
    void *block = Four().four(size); // @2029.4 deep::five inlined
    return touch(block);
}

NOINLINE void *host(size_t size)
{
    void *block = five(size); // @2029.5 deep::host = _ZN4deep4hostEm
    return touch(block);
}

} // namespace deep

// ---- without a name of their own ----

namespace
{

NOINLINE void *hidden(size_t size)
{
    void *block =
        malloc(size); // @2039.0 (anonymous namespace)::hidden = _ZN12_GLOBAL__N_16hiddenEm
    return touch(block);
}

struct Quiet {
    NOINLINE void *make(size_t size)
    {
        void *block = hidden(size); // @2039.1 (anonymous namespace)::Quiet::make
        return touch(block);
    }
};

} // namespace

NOINLINE static void *with_lambda(size_t size)
{
    auto lambda = [&size](size_t more) __attribute__((noinline))
    {
        void *block = malloc(size + more); // @2053.0 with_lambda::{lambda()}::operator()
        return touch(block);
    };
    void *block = lambda(1); // @2053.1 with_lambda
    return touch(block);
}

template <typename F> NOINLINE static void *call(const F &function, size_t size)
{
    void *block = function(size); // @2063.1 call
    return touch(block);
}

NOINLINE static void *with_inlined_lambda(size_t size)
{
    auto lambda = [](size_t wanted) __attribute__((always_inline))
    {
        void *block = malloc(wanted); // @2063.0 with_inlined_lambda::{lambda()}::operator() inlined
        return touch(block);
    };
    void *block = call(lambda, size); // @2063.2 with_inlined_lambda
    return touch(block);
}

NOINLINE void *with_local(size_t size)
{
    struct Local {
        NOINLINE static void *make(size_t wanted)
        {
            void *block = malloc(wanted); // @2069.0 with_local::Local::make
            return touch(block);
        }
    };
    void *block = Local::make(size); // @2069.1 with_local
    return touch(block);
}

// ---- thunks: by way of the second base, and of a virtual one ----

struct First {
    virtual ~First()
    {
    }
    virtual void *other(size_t)
    {
        return nullptr;
    }
};

struct Second {
    virtual ~Second()
    {
    }
    virtual void *make(size_t)
    {
        return nullptr;
    }
};

struct Third {
    virtual ~Third()
    {
    }
    virtual void *build(size_t)
    {
        return nullptr;
    }
};

struct Derived : First, Second, virtual Third {
    void *make(size_t size) override;
    void *build(size_t size) override;
};

NOINLINE void *Derived::make(size_t size)
{
    void *block = malloc(size); // @2081.0 Derived::make
    return touch(block);
}

NOINLINE void *Derived::build(size_t size)
{
    void *block = malloc(size); // @2083.0 Derived::build
    return touch(block);
}

// ---- the library's templates, which allocate with operator new ----

NOINLINE static size_t with_vector(size_t size)
{
    std::vector<char> *held = new std::vector<char>(size); // @2087.0 with_vector
    touch(held);
    return held->size();
}

int main()
{
    std::vector<double> like;
    double *number = space::of_template(like, 2003); // @2003.2 main
    touch(number);
    space::Widget widget(2011); // @2011.1 main
    void *block = widget(2017); // @2017.1 main
    touch(block);
    block = widget.grow(2027); // @2027.1 main
    touch(block);
    block = deep::host(2029); // @2029.6 main
    touch(block);
    block = Quiet().make(2039); // @2039.2 main
    touch(block);
    block = with_lambda(2052); // @2053.2 main
    touch(block);
    block = with_inlined_lambda(2063); // @2063.3 main
    touch(block);
    block = with_local(2069); // @2069.2 main
    touch(block);
    Derived derived;
    Second *second = static_cast<Second *>(touch(static_cast<Second *>(&derived)));
    block = second->make(2081); // @2081.1 main gcc
    touch(block);
    Third *third = static_cast<Third *>(touch(static_cast<Third *>(&derived)));
    block = third->build(2083); // @2083.1 main gcc
    touch(block);
    with_vector(2087); // @2087.1 main
    touch(&derived);
    return 0;
}
