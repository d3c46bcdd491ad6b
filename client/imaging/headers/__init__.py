"""From files to rows: headers read, indexed and kept, without a look at pixels."""
