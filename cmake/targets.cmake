# longspan_library(NAME SOURCES ... [DEPENDS ...] [PRIVATE_DEPENDS ...])
#   A static library of one folder, `longspan::NAME`. Headers are included from the root.
# longspan_test(PATH [DEPENDS ...] [SOURCES ...] [RANKS 1 2 4] [TIMEOUT seconds])
#   tests/PATH_test.cc as a GoogleTest program. Without RANKS one ctest entry; with RANKS the
#   program is linked with the MPI main of tests/support and runs under mpirun once per count.

# Warnings are errors wherever we test, but not in a release build: a newcomer's compiler may be one
# whose warnings we have not seen, and clang, which only the fuzzers need, has others. GCC 12 warns
# falsely of std::string at -O3 (its bug 105651), GCC 13 of references that views give out.
set(LONGSPAN_WARNINGS -Wall -Wextra -Wshadow -Wswitch -Wno-missing-field-initializers
                      $<$<CXX_COMPILER_ID:GNU>:-Wno-restrict>
                      $<$<AND:$<CXX_COMPILER_ID:GNU>,$<VERSION_GREATER_EQUAL:$<CXX_COMPILER_VERSION>,13>>:-Wno-dangling-reference>
                      $<$<AND:$<CXX_COMPILER_ID:GNU>,$<NOT:$<CONFIG:Release>>>:-Werror>)

# nvcc's own warnings; those above would be of code that it generates. Kernels ask constexpr functions
# of the host's headers; -lineinfo is for profilers and costs nothing.
set(LONGSPAN_CUDA_OPTIONS --expt-relaxed-constexpr -lineinfo
                          $<$<NOT:$<CONFIG:Release>>:-Werror=all-warnings>)

function(longspan_library name)
  cmake_parse_arguments(arg "" "" "SOURCES;DEPENDS;PRIVATE_DEPENDS" ${ARGN})
  add_library(longspan_${name} STATIC ${arg_SOURCES})
  add_library(longspan::${name} ALIAS longspan_${name})
  target_include_directories(longspan_${name} PUBLIC ${PROJECT_SOURCE_DIR})
  target_compile_options(
    longspan_${name} PRIVATE "$<$<COMPILE_LANGUAGE:CXX>:${LONGSPAN_WARNINGS}>"
                             "$<$<COMPILE_LANGUAGE:CUDA>:${LONGSPAN_CUDA_OPTIONS}>")
  target_link_libraries(longspan_${name} PUBLIC ${arg_DEPENDS} PRIVATE ${arg_PRIVATE_DEPENDS})
endfunction()

function(longspan_test path)
  cmake_parse_arguments(arg "" "TIMEOUT" "SOURCES;DEPENDS;RANKS" ${ARGN})
  if(NOT arg_TIMEOUT)
    set(arg_TIMEOUT 300)
  endif()
  string(REPLACE "/" "_" target ${path})
  add_executable(${target}_test ${PROJECT_SOURCE_DIR}/tests/${path}_test.cc ${arg_SOURCES})
  target_compile_options(${target}_test PRIVATE ${LONGSPAN_WARNINGS})
  target_link_libraries(${target}_test PRIVATE ${arg_DEPENDS} GTest::gmock)
  if(NOT arg_RANKS)
    target_link_libraries(${target}_test PRIVATE GTest::gtest_main)
    add_test(NAME ${path} COMMAND ${target}_test)
    set_tests_properties(${path} PROPERTIES TIMEOUT ${arg_TIMEOUT} LABELS unit)
  else()
    target_link_libraries(${target}_test PRIVATE longspan_test_mpi_main GTest::gtest)
    foreach(ranks IN LISTS arg_RANKS)
      add_test(NAME ${path}@${ranks}
               COMMAND ${MPIEXEC_EXECUTABLE} --oversubscribe --bind-to none --mca
                       mpi_yield_when_idle 1 -np ${ranks} $<TARGET_FILE:${target}_test>)
      set_tests_properties(
        ${path}@${ranks}
        PROPERTIES TIMEOUT ${arg_TIMEOUT} PROCESSORS ${ranks} LABELS mpi ENVIRONMENT
                   "OMPI_ALLOW_RUN_AS_ROOT=1;OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1;PMIX_MCA_psec=native;OMPI_MCA_pml=ob1")
    endforeach()
  endif()
endfunction()
