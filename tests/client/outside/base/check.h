// The service's own header, under a name that quorate has, too.
#pragma once
inline int ServiceCheck(bool condition) { return condition ? 1 : 0; }
