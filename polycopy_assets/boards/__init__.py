"""Boards, the source's lists of wallets: what is asked, a walk, a snapshot, who is wanted; pure."""
