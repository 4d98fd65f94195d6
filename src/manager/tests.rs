mod arbitrary;
mod attacks;
mod simulation;
mod stories;
mod world;
