//! The checker is tested harder than anything else: histories written by hand, one mutation each; a naive oracle that
//! must agree on random ones; and the purity of the crates that judge.

mod capacity;
mod compare;
mod contracts;
mod fences;
mod github;
mod golden;
mod history;
mod html;
mod junit;
mod markup;
mod merge;
mod oracle;
mod purity;
mod report;
mod sample;
mod verdict;
mod workers;
mod world;
