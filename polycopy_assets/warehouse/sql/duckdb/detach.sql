DETACH warehouse;
