! fortran.f90: allocations in Fortran whose stacks are known; c.c says how. To be compiled with -fno-inline.
module store
  implicit none
  integer(1), allocatable :: first(:), second(:), third(:)
contains
  subroutine grow(n)
    integer, intent(in) :: n
    allocate(first(n)) ! @4001.0 store::grow = __store_MOD_grow
    first(1) = 1
  end subroutine grow

  subroutine with_contained(n)
    integer, intent(in) :: n
    integer :: calls
    calls = 0
    call within(n) ! @4003.1 store::with_contained = __store_MOD_with_contained
    second(2) = int(calls, 1)
  contains
    subroutine within(m)
      integer, intent(in) :: m
      calls = calls + 1
      allocate(second(m)) ! @4003.0 store::with_contained::within
      second(1) = 1
    end subroutine within
  end subroutine with_contained
end module store

program fortran
  use store
  implicit none
  call grow(4001) ! @4001.1 fortran
  call with_contained(4003) ! @4003.2 fortran
  call outside(4007) ! @4007.1 fortran
  if (first(1) + second(1) + third(1) /= 3) stop 1
end program fortran

subroutine outside(n)
  use store
  implicit none
  integer, intent(in) :: n
  allocate(third(n)) ! @4007.0 outside = outside_
  third(1) = 1
end subroutine outside
