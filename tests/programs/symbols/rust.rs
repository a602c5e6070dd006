// rust.rs: allocations in Rust whose stacks are known; c.c says how.
use std::arch::asm;
use std::ffi::c_void;

extern "C" {
    fn malloc(size: usize) -> *mut c_void;
}

// Keeps a call from being the last thing of its function.
#[inline(always)]
fn black_box<T>(value: T) -> T {
    unsafe { asm!("/* {0} */", in(reg) &value as *const T, options(nostack)) };
    value
}

// ---- generics ----

#[inline(never)]
fn generic<T: Into<u64> + Copy>(of: T) -> *mut c_void {
    let block = unsafe { malloc(of.into() as usize) }; // @3001.0 rust::generic
    black_box(block)
}

mod inner {
    use super::*;

    pub struct Maker<T> {
        pub factor: T,
    }

    impl<T: Into<u64> + Copy> Maker<T> {
        #[inline(never)]
        pub fn make(&self, size: u64) -> *mut c_void {
            let block = generic(self.factor.into() * size); // @3001.1 rust::inner::Maker::make
            black_box(block)
        }
    }
}

// ---- inlined ----

#[inline(always)]
fn one(size: usize) -> *mut c_void {
    let block = unsafe { malloc(size) }; // @3011.0 rust::one inlined
    black_box(block)
}

#[inline(always)]
fn two(size: usize) -> *mut c_void {
    let block = one(size); // @3011.1 rust::two inlined
    black_box(block)
}

#[inline(never)]
fn host(size: usize) -> *mut c_void {
    let block = two(size); // @3011.2 rust::host
    black_box(block)
}

// ---- closures and traits ----

#[inline(never)]
fn call<F: Fn(usize) -> *mut c_void>(function: &F, size: usize) -> *mut c_void {
    let block = function(size); // @3019.1 rust::call
    black_box(block)
}

#[inline(never)]
fn with_closure(size: usize) -> *mut c_void {
    let more = black_box(1);
    let closure = |wanted: usize| {
        let block = unsafe { malloc(wanted + more) }; // @3019.0 rust::with_closure::{{closure}} inlined
        black_box(block)
    };
    let block = call(&closure, size); // @3019.2 rust::with_closure
    black_box(block)
}

trait Shape {
    fn make(&self, size: usize) -> *mut c_void;
}

struct Square;

impl Shape for Square {
    #[inline(never)]
    fn make(&self, size: usize) -> *mut c_void {
        let block = unsafe { malloc(size) }; // @3023.0 <rust::Square as rust::Shape>::make
        black_box(block)
    }
}

// ---- the library's ----

#[inline(never)]
fn with_vector(size: usize) -> Vec<u8> {
    let block: Vec<u8> = Vec::with_capacity(size); // @3037.0 rust::with_vector
    black_box(block)
}

#[inline(never)]
fn with_box() -> Box<[u8; 3041]> {
    let block = Box::new(black_box([7u8; 3041])); // @3041.0 rust::with_box
    black_box(block)
}

fn main() {
    let block = inner::Maker { factor: 1u32 }.make(3001); // @3001.2 rust::main
    black_box(block);
    let block = host(3011); // @3011.3 rust::main
    black_box(block);
    let block = with_closure(3018); // @3019.3 rust::main
    black_box(block);
    let shape: Box<dyn Shape> = black_box(Box::new(Square));
    let block = shape.make(3023); // @3023.1 rust::main
    black_box(block);
    let vector = with_vector(3037); // @3037.1 rust::main
    black_box(vector.as_ptr());
    std::mem::forget(vector);
    let boxed = with_box(); // @3041.1 rust::main
    black_box(&boxed);
    std::mem::forget(boxed);
}
