//! ws-verify from outside: the program itself, real sockets, a real Redis, every exit code.

mod children;
mod clusters;
mod endings;
mod faults;
mod past;
mod serve;
mod tool;
