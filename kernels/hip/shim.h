/* SPDX-License-Identifier: MIT */
/* shim: the few words in which the kernels are written, for four compilers: clang for amdgcn (as HIP,
 * but with no ROCm header or library), clang for nvptx (as CUDA, with no CUDA header or library), nvcc,
 * and any C compiler for the harness on the CPU. The kernels are in the common part of C11 and C++17.
 *
 * A "wave" is 32 consecutive threads of a block here, also where the hardware's has 64. Exchanges and
 * lane_sync need all threads of it, a barrier all threads of the block; block sizes are multiples of 32.
 * Floats: plain operators round once each (no contraction, no flush to zero: see meson.build's flags). */
#ifndef HALO_KERNELS_HIP_SHIM_H
#define HALO_KERNELS_HIP_SHIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#if defined(__HIP__) || defined(__AMDGCN__)
#define SHIM_AMD 1
#define SHIM_NVIDIA 0
#elif defined(__CUDA__) || defined(__CUDACC__)
#define SHIM_AMD 0
#define SHIM_NVIDIA 1
#else
#define SHIM_AMD 0
#define SHIM_NVIDIA 0
#endif
#define SHIM_GPU (SHIM_AMD || SHIM_NVIDIA)

enum { WAVE = 32 };

/* 16 bytes that are loaded at once. */
struct quad {
    uint32_t w[4];
} __attribute__((aligned(16)));

#if SHIM_GPU
#ifndef __CUDACC__
#define __device__ __attribute__((device))
#define __global__ __attribute__((global))
#define __shared__ __attribute__((shared))
#endif
#define DEVICE __device__ static inline __attribute__((always_inline))
#define TABLE __device__ static const
#define UNROLL _Pragma("unroll")
#define NO_UNROLL _Pragma("unroll 1")
#if SHIM_AMD
#define SHIM_BOUND(n, blocks) __attribute__((amdgpu_flat_work_group_size(n, n)))
#elif defined(__CUDACC__) && !defined(__clang__)
#define SHIM_BOUND(n, blocks) __launch_bounds__(n, blocks)
#else
#define SHIM_BOUND(n, blocks) __attribute__((launch_bounds(n, blocks)))
#endif
/* `blocks` are to fit a processor of NVIDIA's. */
#define KERNEL_BLOCKS(name, member, n_threads, blocks)                                             \
    extern "C" __global__ SHIM_BOUND(n_threads,                                                    \
                                     blocks) void halo_##name(struct hip_##member##_args a)
#define KERNEL(name, member, n_threads) KERNEL_BLOCKS(name, member, n_threads, 1)
/* The block's dynamic shared memory. */
extern __shared__ uint32_t shim_shared[];
#define SHARED_MEMORY ((void *)shim_shared)
#else
#define DEVICE static inline __attribute__((always_inline))
#define TABLE static const
#define UNROLL
#define NO_UNROLL
#define KERNEL_BLOCKS(name, member, n_threads, blocks) KERNEL(name, member, n_threads)
#define KERNEL(name, member, n_threads)                                                            \
    void halo_##name(struct hip_##member##_args a);                                                \
    void halo_##name(struct hip_##member##_args a)
#define SHARED_MEMORY (fiber_shared())
#include "kernels/hip/fiber.h"
#endif

/* ---- where a thread is ---- */

#if SHIM_AMD
DEVICE uint32_t thread_id(void)
{
    return __builtin_amdgcn_workitem_id_x();
}
DEVICE uint32_t block_x(void)
{
    return __builtin_amdgcn_workgroup_id_x();
}
DEVICE uint32_t block_y(void)
{
    return __builtin_amdgcn_workgroup_id_y();
}
DEVICE uint32_t block_z(void)
{
    return __builtin_amdgcn_workgroup_id_z();
}
#elif SHIM_NVIDIA
#if defined(__clang__)
#define SHIM_SREG(name) ((uint32_t)__nvvm_read_ptx_sreg_##name())
#else
#define SHIM_SREG(name) SHIM_NVCC_##name
#define SHIM_NVCC_tid_x threadIdx.x
#define SHIM_NVCC_ctaid_x blockIdx.x
#define SHIM_NVCC_ctaid_y blockIdx.y
#define SHIM_NVCC_ctaid_z blockIdx.z
#endif
DEVICE uint32_t thread_id(void)
{
    return SHIM_SREG(tid_x);
}
DEVICE uint32_t block_x(void)
{
    return SHIM_SREG(ctaid_x);
}
DEVICE uint32_t block_y(void)
{
    return SHIM_SREG(ctaid_y);
}
DEVICE uint32_t block_z(void)
{
    return SHIM_SREG(ctaid_z);
}
#else
DEVICE uint32_t thread_id(void)
{
    return fiber_thread();
}
DEVICE uint32_t block_x(void)
{
    return fiber_block(0);
}
DEVICE uint32_t block_y(void)
{
    return fiber_block(1);
}
DEVICE uint32_t block_z(void)
{
    return fiber_block(2);
}
#endif

/* ---- threads together ---- */

#if SHIM_AMD
DEVICE void barrier(void)
{
    __builtin_amdgcn_fence(__ATOMIC_RELEASE, "workgroup");
    __builtin_amdgcn_s_barrier();
    __builtin_amdgcn_fence(__ATOMIC_ACQUIRE, "workgroup");
}
/* What the wave's threads wrote to shared memory is seen by its others. */
DEVICE void lane_sync(void)
{
    __builtin_amdgcn_fence(__ATOMIC_RELEASE, "wavefront");
    __builtin_amdgcn_wave_barrier();
    __builtin_amdgcn_fence(__ATOMIC_ACQUIRE, "wavefront");
}
/* The value of lane ^ mask; mask is a constant below 32. */
#if defined(__GFX9__)
#define lane_xor_u32(v, mask)                                                                      \
    ((uint32_t)__builtin_amdgcn_ds_swizzle((int)(v), ((mask) << 10) | 0x1f))
#else
DEVICE uint32_t shim_swap_halves(uint32_t v)
{
    /* LLVM 19 may sink the exchange into a branch that not all lanes take, where the others' values
     * are not computed yet; the empty asm keeps it where it stands. */
    uint32_t r = __builtin_amdgcn_permlanex16(v, v, 0x76543210, 0xfedcba98, true, false);
    __asm__ volatile("" : "+v"(r));
    return r;
}
#define lane_xor_u32(v, mask)                                                                      \
    ((mask) == 16 ? shim_swap_halves(v)                                                            \
                  : (uint32_t)__builtin_amdgcn_update_dpp(0, (int)(v), 0x160 | ((mask)&15), 0xf,   \
                                                          0xf, true))
#endif
#elif SHIM_NVIDIA
#if defined(__clang__)
DEVICE void barrier(void)
{
    __syncthreads();
}
DEVICE void lane_sync(void)
{
    __nvvm_bar_warp_sync(0xffffffffU);
}
#define lane_xor_u32(v, mask)                                                                      \
    ((uint32_t)__nvvm_shfl_sync_bfly_i32(0xffffffffU, (int)(v), mask, 0x1f))
#else
DEVICE void barrier(void)
{
    __syncthreads();
}
DEVICE void lane_sync(void)
{
    __syncwarp();
}
#define lane_xor_u32(v, mask) __shfl_xor_sync(0xffffffffU, (uint32_t)(v), mask)
#endif
#else
#define barrier() fiber_barrier(__FILE__, __LINE__)
#define lane_sync() fiber_lane_sync(__FILE__, __LINE__)
#define lane_xor_u32(v, mask) fiber_exchange(v, mask, __FILE__, __LINE__)
#endif

/* ---- copies to shared memory ---- */

/* 16 bytes, both addresses multiples of 16. They are there, for the thread that copies them, after a
 * copy_wait; `left` copy_commits, at most, may then still be under way. Only NVIDIA's have such copies; the
 * others' are there at once. */
#define SHIM_HAS_COPIES (!SHIM_AMD) /* that need no registers on their way */

DEVICE void copy16(void *shared, const void *global)
{
#if SHIM_NVIDIA && defined(__clang__)
    uint32_t to = (uint32_t)(uintptr_t)(__attribute__((address_space(3))) void *)shared;
    __asm__ volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(to), "l"(global) : "memory");
#elif SHIM_NVIDIA
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(
                     (uint32_t)__cvta_generic_to_shared(shared)),
                 "l"(global)
                 : "memory");
#else
    *(struct quad *)shared = *(const struct quad *)global;
#endif
}

DEVICE void copy_commit(void)
{
#if SHIM_NVIDIA
    __asm__ volatile("cp.async.commit_group;" ::: "memory");
#endif
}

/* `left` is a constant. */
#if SHIM_NVIDIA
#define copy_wait(left) __asm__ volatile("cp.async.wait_group %0;" ::"n"(left) : "memory")
#else
#define copy_wait(left) ((void)(left))
#endif

/* Keeps AMD's compiler from doing here in one go what takes more registers than there are. */
DEVICE void keep_order(void)
{
#if SHIM_AMD
    __builtin_amdgcn_sched_barrier(0);
#endif
}

/* ---- threads of several blocks ---- */

/* What this thread wrote is seen by threads that come after it by way of add_global and fence_acquire. */
DEVICE void fence_release(void)
{
#if SHIM_AMD
    __builtin_amdgcn_fence(__ATOMIC_RELEASE, "agent");
#elif SHIM_NVIDIA
    __asm__ volatile("fence.acq_rel.gpu;" ::: "memory");
#endif
}

DEVICE void fence_acquire(void)
{
#if SHIM_AMD
    __builtin_amdgcn_fence(__ATOMIC_ACQUIRE, "agent");
#elif SHIM_NVIDIA
    fence_release();
#endif
}

/* Adds to global memory; returns what was there. */
DEVICE uint32_t add_global(uint32_t *to, uint32_t v)
{
#if SHIM_AMD
    return __hip_atomic_fetch_add(to, v, __ATOMIC_RELAXED, __HIP_MEMORY_SCOPE_AGENT);
#elif SHIM_NVIDIA && defined(__clang__)
    return (uint32_t)__nvvm_atom_add_gen_i((int *)to, (int)v);
#elif SHIM_NVIDIA
    return atomicAdd(to, v);
#else
    uint32_t was = *to;
    *to += v;
    return was;
#endif
}

/* Until so many were added to *p; what their threads wrote before is seen after a barrier. Only where those that add run
 * already: on the CPU and on GPUs without overlap they have ended. */
DEVICE void await_count(const uint32_t *p, uint32_t n)
{
#if SHIM_NVIDIA
    uint32_t v = 0;
    do {
        __asm__ volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(v) : "l"(p) : "memory");
    } while (v < n);
#else
    (void)p;
    (void)n;
#endif
}

/* ---- launches that overlap (HIP_EARLY of kernels.def) ---- */

/* Lets the next launch's blocks start once all of this one's are here. */
DEVICE void launch_next(void)
{
#if SHIM_NVIDIA && defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
    __asm__ volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

/* Brings the line of constant memory nearer, where the hardware does that without a register. */
DEVICE void prefetch(const void *p)
{
#if SHIM_NVIDIA
    __asm__ volatile("prefetch.global.L2 [%0];" ::"l"(p));
#else
    (void)p;
#endif
}

/* Until the launch ahead has ended and what it wrote is seen. */
#if SHIM_GPU
DEVICE void wait_previous(void)
{
#if SHIM_NVIDIA && defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
    __asm__ volatile("griddepcontrol.wait;" ::: "memory");
#endif
}
#else
#define wait_previous() fiber_wait_previous()
#endif

/* ---- arithmetic ---- */

DEVICE uint32_t bits_of_f32(float x)
{
    uint32_t u;
    __builtin_memcpy(&u, &x, sizeof u);
    return u;
}

DEVICE float f32_of_bits(uint32_t u)
{
    float x;
    __builtin_memcpy(&x, &u, sizeof x);
    return x;
}

#define lane_xor_f32(v, mask) f32_of_bits(lane_xor_u32(bits_of_f32(v), mask))
#define lane_xor_i32(v, mask) ((int32_t)lane_xor_u32((uint32_t)(v), mask))

DEVICE float fma_f32(float a, float b, float c)
{
    return __builtin_fmaf(a, b, c);
}

/* The larger; of a NaN and another number that one. Of two zeros any. */
DEVICE float max_f32(float a, float b)
{
    return __builtin_fmaxf(a, b);
}

DEVICE float sqrt_f32(float x)
{
#if SHIM_NVIDIA && defined(__clang__)
    return __nvvm_sqrt_rn_f(x);
#elif SHIM_NVIDIA
    return __fsqrt_rn(x);
#else
    return __builtin_sqrtf(x);
#endif
}

/* c + the sum of a[i] * b[i] over four signed bytes. */
DEVICE int32_t dot4(uint32_t a, uint32_t b, int32_t c)
{
#if SHIM_AMD && (defined(__GFX11__) || defined(__GFX12__))
    return __builtin_amdgcn_sudot4(true, (int)a, true, (int)b, c, false);
#elif SHIM_AMD
    return __builtin_amdgcn_sdot4((int)a, (int)b, c, false);
#elif SHIM_NVIDIA
    int32_t d;
    __asm__("dp4a.s32.s32 %0, %1, %2, %3;" : "=r"(d) : "r"(a), "r"(b), "r"(c));
    return d;
#else
    for (int i = 0; i < 4; i++) {
        c += (int32_t)(int8_t)(a >> 8 * i) * (int8_t)(b >> 8 * i);
    }
    return c;
#endif
}

/* Adds to a counter in shared memory, whichever threads do so at once; returns what it was. */
DEVICE uint32_t take_shared(uint32_t *counter, uint32_t n)
{
#if SHIM_AMD
    __attribute__((address_space(3))) uint32_t *shared =
        (__attribute__((address_space(3))) uint32_t *)counter;
    return __hip_atomic_fetch_add(shared, n, __ATOMIC_RELAXED, __HIP_MEMORY_SCOPE_WORKGROUP);
#elif SHIM_NVIDIA && defined(__clang__)
    return (uint32_t)__nvvm_atom_add_gen_i((int *)counter, (int)n);
#elif SHIM_NVIDIA
    return atomicAdd(counter, n);
#else
    return __atomic_fetch_add(counter, n, __ATOMIC_RELAXED);
#endif
}

/* Adds to shared memory, whichever threads do so at once. */
DEVICE void add_shared(int32_t *to, int32_t v)
{
#if SHIM_AMD
    __attribute__((address_space(3))) int32_t *shared =
        (__attribute__((address_space(3))) int32_t *)to;
    __hip_atomic_fetch_add(shared, v, __ATOMIC_RELAXED, __HIP_MEMORY_SCOPE_WORKGROUP);
#elif SHIM_NVIDIA && defined(__clang__)
    __nvvm_atom_add_gen_i(to, v);
#elif SHIM_NVIDIA
    atomicAdd(to, v);
#else
    *to += v;
#endif
}

/* Exact; a signalling NaN becomes quiet. */
DEVICE float f32_of_f16(uint16_t h)
{
#if SHIM_NVIDIA && !defined(__clang__)
    float f; /* nvcc has no _Float16 */
    asm("cvt.f32.f16 %0, %1;" : "=f"(f) : "h"(h));
    return f;
#elif SHIM_GPU
    _Float16 f;
    __builtin_memcpy(&f, &h, sizeof f);
    return (float)f;
#else
    return f16_to_f32(h);
#endif
}

#endif
