mod multiwerf;
mod slug;
